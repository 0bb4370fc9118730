//! One VM: a worker's instance of the module.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use wasmi::{Engine, Error, Instance, Linker, Module, Store, WasmParams, WasmResults};

use crate::Proxy;
use crate::abi;

/// The module, compiled.
#[derive(Debug, Clone)]
pub struct Filter(Arc<(Module, Linker<Guest>)>);

impl Filter {
    /// The module as `make wasm` builds it.
    pub fn built() -> Self {
        static BUILT: OnceLock<Filter> = OnceLock::new();
        BUILT.get_or_init(|| Self::named("lanekeeper.wasm")).clone()
    }

    /// The one that a request with `x-lanekeeper-crash` ends.
    pub fn crashable() -> Self {
        Self::named("lanekeeper-crash.wasm")
    }

    fn named(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/wasm");
        let path: PathBuf = directory.join(name);
        let bytes = std::fs::read(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; `make wasm` builds it", path.display()));
        let engine = Engine::default();
        let module = Module::new(&engine, bytes).expect("the module is valid");
        Self(Arc::new((module, abi::linker(&engine))))
    }
}

/// What a VM has of its own.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) proxy: Proxy,
    pub(crate) configuration: Vec<u8>,
    pub(crate) traffic: Traffic,
    pub(crate) headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// How many calls to the host there were.
    pub(crate) calls: u64,
}

/// What Envoy says of a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Traffic {
    /// Nothing.
    #[default]
    Unspecified,
    /// It takes requests for the application.
    Inbound,
    /// It takes requests of the application.
    Outbound,
}

/// A request, as the filter leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its context's id, which [`Vm::end`] takes.
    pub context: u32,
    /// Its headers.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Request {
    /// All values of a header.
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        let headers = self.headers.iter();
        let named = headers.filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|(_, value)| value.as_slice()).collect()
    }

    /// The header's value, if it has one and only one.
    pub fn value(&self, name: &str) -> Option<String> {
        match self.values(name).as_slice() {
            [value] => Some(String::from_utf8_lossy(value).into_owned()),
            _ => None,
        }
    }
}

/// A worker's VM.
pub struct Vm {
    store: Store<Guest>,
    instance: Instance,
    contexts: u32,
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm")
            .field("contexts", &self.contexts)
            .finish_non_exhaustive()
    }
}

/// The id of the plugin that [`Vm::configure`] configures; requests have others.
const PLUGIN: u32 = 1;

impl Vm {
    /// Starts a VM of the proxy, without any configuration.
    pub fn start(filter: &Filter, proxy: &Proxy) -> Self {
        let (module, linker) = &*filter.0;
        let guest = Guest {
            proxy: proxy.clone(),
            configuration: Vec::new(),
            traffic: Traffic::Unspecified,
            headers: Vec::new(),
            calls: 0,
        };
        let mut store = Store::new(module.engine(), guest);
        let instance = linker
            .instantiate_and_start(&mut store, module)
            .expect("the module imports nothing else");
        let mut vm = Self {
            store,
            instance,
            contexts: PLUGIN,
        };
        vm.call::<_, ()>("proxy_on_context_create", (PLUGIN, 0_u32))
            .expect("a plugin begins");
        vm
    }

    /// Starts a VM with a configuration that has to be taken.
    pub fn configured(filter: &Filter, proxy: &Proxy, configuration: &str) -> Self {
        let mut vm = Self::start(filter, proxy);
        let taken = vm.configure(configuration.as_bytes());
        assert!(
            taken.expect("no trap"),
            "{configuration} is refused: {:?}",
            proxy.log()
        );
        vm
    }

    /// Hands the plugin a configuration: whether it takes it; an error if the VM trapped.
    pub fn configure(&mut self, configuration: &[u8]) -> Result<bool, Error> {
        self.store.data_mut().configuration = configuration.to_vec();
        let size = u32::try_from(configuration.len()).expect("a small configuration");
        self.call("proxy_on_configure", (PLUGIN, size))
            .map(|taken: u32| taken != 0)
    }

    /// Hands the plugin a request; an error if the VM trapped.
    pub fn request<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        traffic: Traffic,
        headers: &[(N, V)],
    ) -> Result<Request, Error> {
        self.contexts += 1;
        let context = self.contexts;
        let guest = self.store.data_mut();
        guest.traffic = traffic;
        guest.headers = headers
            .iter()
            .map(|(name, value)| (name.as_ref().to_vec(), value.as_ref().to_vec()))
            .collect();
        let count = u32::try_from(headers.len()).expect("few headers");
        self.call::<_, ()>("proxy_on_context_create", (context, PLUGIN))?;
        let action: u32 = self.call("proxy_on_request_headers", (context, count, 1_u32))?;
        assert_eq!(action, 0, "a request is never paused");
        Ok(Request {
            context,
            headers: std::mem::take(&mut self.store.data_mut().headers),
        })
    }

    /// Ends a request.
    pub fn end(&mut self, context: u32) -> Result<(), Error> {
        self.call("proxy_on_delete", (context,))
    }

    /// How many calls to the host there were so far.
    pub fn calls(&self) -> u64 {
        self.store.data().calls
    }

    /// The VM's memory, in bytes.
    pub fn memory(&self) -> usize {
        let memory = self.instance.get_memory(&self.store, "memory");
        memory.expect("it is exported").data_size(&self.store)
    }

    fn call<P: WasmParams, R: WasmResults>(&mut self, name: &str, parameters: P) -> Result<R, Error> {
        let function = self.instance.get_typed_func::<P, R>(&self.store, name)?;
        function.call(&mut self.store, parameters)
    }
}
