//! The calls that the module imports.

use wasmi::{Caller, Engine, Error, Extern, Linker, Memory};

use crate::proxy::{Fault, Written};
use crate::vm::{Guest, Traffic};

/// `WasmResult` of the ABI.
const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;
const CAS_MISMATCH: u32 = 8;

const REQUEST_HEADERS: u32 = 0;
const PLUGIN_CONFIGURATION: u32 = 7;

type Result = std::result::Result<u32, Error>;

/// A call into the host, with the guest's memory.
struct Call<'c>(Caller<'c, Guest>);

impl<'c> Call<'c> {
    /// The call, or the status that it is made to answer with.
    fn begin(mut caller: Caller<'c, Guest>) -> std::result::Result<Self, u32> {
        caller.data_mut().calls += 1;
        match caller.data().proxy.fault() {
            Fault::Status(status) => Err(status),
            _ => Ok(Self(caller)),
        }
    }

    fn memory(&self) -> Memory {
        let memory = self.0.get_export("memory").and_then(Extern::into_memory);
        memory.expect("the module exports its memory")
    }

    fn bytes(&self, at: u32, size: u32) -> std::result::Result<Vec<u8>, Error> {
        let mut bytes = vec![0; usize::try_from(size).expect("fits")];
        self.memory()
            .read(&self.0, usize::try_from(at).expect("fits"), &mut bytes)?;
        Ok(bytes)
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> std::result::Result<(), Error> {
        let memory = self.memory();
        memory.write(&mut self.0, usize::try_from(at).expect("fits"), bytes)?;
        Ok(())
    }

    /// Hands over a value as Envoy does: in memory that the guest gives, or as a null address if it is empty.
    fn hand_over(&mut self, value: &[u8], to: u32, size_to: u32) -> Result {
        let size = u32::try_from(value.len()).expect("fits");
        let at = if value.is_empty() {
            0
        } else {
            let allocate = self.0.get_export("proxy_on_memory_allocate");
            let allocate = allocate.and_then(Extern::into_func).expect("it is exported");
            let allocate = allocate.typed::<u32, u32>(&self.0)?;
            allocate.call(&mut self.0, size)?
        };
        self.write(at, value)?;
        self.write(to, &at.to_le_bytes())?;
        self.write(size_to, &size.to_le_bytes())?;
        Ok(OK)
    }
}

/// Does `what` unless the host is made to answer otherwise.
fn answer(caller: Caller<'_, Guest>, what: impl FnOnce(Call<'_>) -> Result) -> Result {
    match Call::begin(caller) {
        Ok(call) => what(call),
        Err(status) => Ok(status),
    }
}

/// All calls, by their names.
pub(crate) fn linker(engine: &Engine) -> Linker<Guest> {
    let mut linker = Linker::new(engine);
    define(&mut linker).expect("each name once");
    linker
}

fn define(linker: &mut Linker<Guest>) -> std::result::Result<(), Error> {
    linker.func_wrap("env", "proxy_log", log)?;
    linker.func_wrap("env", "proxy_get_current_time_nanoseconds", time)?;
    linker.func_wrap("env", "proxy_get_buffer_bytes", buffer)?;
    linker.func_wrap("env", "proxy_get_property", property)?;
    linker.func_wrap("env", "proxy_get_header_map_value", header)?;
    linker.func_wrap("env", "proxy_replace_header_map_value", set_header)?;
    linker.func_wrap("env", "proxy_get_shared_data", shared)?;
    linker.func_wrap("env", "proxy_set_shared_data", set_shared)?;
    linker.func_wrap("env", "proxy_define_metric", define_metric)?;
    linker.func_wrap("env", "proxy_increment_metric", increment)?;
    Ok(())
}

fn log(caller: Caller<'_, Guest>, level: u32, text: u32, size: u32) -> Result {
    answer(caller, |call| {
        let text = call.bytes(text, size)?;
        let line = format!("{level} {}", String::from_utf8_lossy(&text));
        call.0.data().proxy.write_log(line);
        Ok(OK)
    })
}

fn time(caller: Caller<'_, Guest>, to: u32) -> Result {
    answer(caller, |mut call| {
        let now = call.0.data().proxy.nanoseconds();
        call.write(to, &now.to_le_bytes())?;
        Ok(OK)
    })
}

fn buffer(caller: Caller<'_, Guest>, buffer: u32, start: u32, most: u32, to: u32, size_to: u32) -> Result {
    answer(caller, |mut call| {
        if buffer != PLUGIN_CONFIGURATION {
            return Ok(NOT_FOUND);
        }
        let configuration = call.0.data().configuration.clone();
        let from = configuration.iter().skip(usize::try_from(start).expect("fits"));
        let part: Vec<u8> = from.take(usize::try_from(most).expect("fits")).copied().collect();
        call.hand_over(&part, to, size_to)
    })
}

fn property(caller: Caller<'_, Guest>, path: u32, size: u32, to: u32, size_to: u32) -> Result {
    answer(caller, |mut call| {
        let direction: i64 = match call.0.data().traffic {
            Traffic::Unspecified => 0,
            Traffic::Inbound => 1,
            Traffic::Outbound => 2,
        };
        match call.bytes(path, size)?.as_slice() {
            b"xds\0listener_direction" => call.hand_over(&direction.to_le_bytes(), to, size_to),
            _ => Ok(NOT_FOUND),
        }
    })
}

fn header(caller: Caller<'_, Guest>, map: u32, name: u32, size: u32, to: u32, size_to: u32) -> Result {
    answer(caller, |mut call| {
        if map != REQUEST_HEADERS {
            return Ok(BAD_ARGUMENT);
        }
        let name = call.bytes(name, size)?;
        let mut headers = call.0.data().headers.iter();
        let first = headers.find(|(other, _)| other.eq_ignore_ascii_case(&name));
        match first.map(|(_, value)| value.clone()) {
            Some(value) => call.hand_over(&value, to, size_to),
            None => Ok(NOT_FOUND),
        }
    })
}

fn set_header(
    caller: Caller<'_, Guest>,
    map: u32,
    name: u32,
    name_size: u32,
    value: u32,
    size: u32,
) -> Result {
    answer(caller, |mut call| {
        if map != REQUEST_HEADERS {
            return Ok(BAD_ARGUMENT);
        }
        let name = call.bytes(name, name_size)?;
        let value = call.bytes(value, size)?;
        let headers = &mut call.0.data_mut().headers;
        headers.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
        headers.push((name, value));
        Ok(OK)
    })
}

fn shared(
    caller: Caller<'_, Guest>,
    key: u32,
    key_size: u32,
    to: u32,
    size_to: u32,
    version_to: u32,
) -> Result {
    answer(caller, |mut call| {
        let key = call.bytes(key, key_size)?;
        let Some((value, version)) = call.0.data().proxy.read(&key) else {
            return Ok(NOT_FOUND);
        };
        call.write(version_to, &version.to_le_bytes())?;
        call.hand_over(&value, to, size_to)
    })
}

fn set_shared(
    caller: Caller<'_, Guest>,
    key: u32,
    key_size: u32,
    value: u32,
    size: u32,
    version: u32,
) -> Result {
    answer(caller, |call| {
        let key = call.bytes(key, key_size)?;
        let value = call.bytes(value, size)?;
        Ok(match call.0.data().proxy.write(&key, &value, version) {
            Written::Done => OK,
            Written::Mismatch => CAS_MISMATCH,
        })
    })
}

fn define_metric(caller: Caller<'_, Guest>, _kind: u32, name: u32, size: u32, to: u32) -> Result {
    answer(caller, |mut call| {
        let name = call.bytes(name, size)?;
        let id = call
            .0
            .data()
            .proxy
            .define_counter(&String::from_utf8_lossy(&name));
        call.write(to, &id.to_le_bytes())?;
        Ok(OK)
    })
}

fn increment(caller: Caller<'_, Guest>, id: u32, by: i64) -> Result {
    answer(caller, |call| {
        let is_known = call.0.data().proxy.increment(id, by);
        Ok(if is_known { OK } else { BAD_ARGUMENT })
    })
}
