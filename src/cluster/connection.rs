//! How the API server is reached.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// How long a response may be silent. Longer than a watch lasts ([`super::watch::WATCH_SECONDS`]), so that
/// only a connection is given up that is dead.
const SILENCE: Duration = Duration::from_secs(180);

/// Where the API server is, and who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// The kubeconfig file; without it `$KUBECONFIG`, `~/.kube/config`, and then the service account of the
    /// pod.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; without it the current one.
    pub context: Option<String>,
}

/// Makes a client. Nothing is sent yet.
pub async fn connect(connection: &Connection) -> anyhow::Result<Client> {
    client_of(connection).await.map(|(client, _)| client)
}

/// Makes a client, and tells the address that it will ask.
pub(super) async fn client_of(connection: &Connection) -> anyhow::Result<(Client, String)> {
    let mut config = config(connection).await?;
    config.read_timeout = Some(SILENCE);
    // Else the time that a connection was idle counts as silence.
    config.reset_reader_on_write = true;
    let url = config.cluster_url.to_string();
    let client = Client::try_from(config).with_context(|| format!("no client for {url} can be made"))?;
    Ok((client, url.trim_end_matches('/').to_owned()))
}

async fn config(connection: &Connection) -> anyhow::Result<Config> {
    let options = KubeConfigOptions {
        context: connection.context.clone(),
        ..KubeConfigOptions::default()
    };
    if let Some(path) = &connection.kubeconfig {
        let path_of = || path.display();
        let kubeconfig = Kubeconfig::read_from(path)
            .with_context(|| format!("the kubeconfig {} cannot be read", path_of()))?;
        return Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .with_context(|| match &connection.context {
                Some(context) => format!("the kubeconfig {} has no usable context {context}", path_of()),
                None => format!("the kubeconfig {} has no usable current context", path_of()),
            });
    }
    if let Some(context) = &connection.context {
        return Config::from_kubeconfig(&options).await.with_context(|| {
            format!("the kubeconfig ($KUBECONFIG, else ~/.kube/config) has no usable context {context}")
        });
    }
    Config::infer().await.context(
        "no API server is known: neither $KUBECONFIG nor ~/.kube/config has a current context, and this is \
         not a pod with a service account",
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: one
contexts: [{name: one, context: {cluster: c, user: u}}, {name: dangling, context: {cluster: none, user: u}}]
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:6443'}}]
users: [{name: u, user: {token: t}}]
";

    async fn refusal(kubeconfig: &str, context: Option<&str>) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        fs::write(&path, kubeconfig).unwrap();
        let connection = Connection {
            kubeconfig: Some(path),
            context: context.map(str::to_owned),
        };
        let error = connect(&connection).await.err().expect("no client");
        format!("{error:#}").replace(&dir.path().display().to_string(), "DIR")
    }

    #[tokio::test]
    async fn a_kubeconfig_that_does_not_serve_is_named_with_what_is_wrong() {
        let message = refusal(KUBECONFIG, Some("two")).await;
        assert!(
            message.starts_with("the kubeconfig DIR/kubeconfig has no usable context two: "),
            "{message}"
        );
        let message = refusal(KUBECONFIG, Some("dangling")).await;
        assert!(
            message.contains("dangling") && message.contains("none"),
            "{message}"
        );
        let message = refusal("clusters: {", None).await;
        assert!(
            message.starts_with("the kubeconfig DIR/kubeconfig cannot be read: "),
            "{message}"
        );
        let message = refusal("apiVersion: v1\nkind: Config\n", None).await;
        assert!(message.contains("has no usable current context"), "{message}");
    }

    #[tokio::test]
    async fn a_good_kubeconfig_makes_a_client() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        fs::write(&path, KUBECONFIG).unwrap();
        let connection = Connection {
            kubeconfig: Some(path),
            context: Some("one".to_owned()),
        };
        assert_eq!(connect(&connection).await.unwrap().default_namespace(), "default");
    }
}
