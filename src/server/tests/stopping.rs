//! How a server ends.

use super::*;
use crate::server::serve::serve_app;

/// Long enough that a test that waits for it has failed.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Waits for the end of a server that has to end by itself.
async fn ends(end: impl Future<Output = Result<(), ServeError>>) {
    tokio::time::timeout(Duration::from_secs(60), end)
        .await
        .expect("it never ended")
        .unwrap();
}

/// Waits until the server accepts no connection any more.
async fn refuses_connections(address: SocketAddr) {
    eventually(async || TcpStream::connect(address).await.is_err()).await;
}

/// Waits for the end of a connection that the server has to close.
async fn closes(connection: JoinHandle<hyper::Result<()>>) {
    tokio::time::timeout(Duration::from_secs(60), connection)
        .await
        .expect("it stays open")
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_stopping_server_is_not_ready_but_answers_and_says_goodbye() {
    let served = Served::with(|config| config.shutdown_delay = FOR_EVER).await;
    let mut http1 = Http1::over(served.connect(&served.client()).await.unwrap()).await;
    let mut http2 = Http2::over(served.connect(&served.client().alpn("h2")).await.unwrap()).await;
    assert_eq!(
        http1
            .send(post("/mutate/enforce", "review"))
            .await
            .unwrap()
            .header("connection"),
        ""
    );
    assert_eq!(http2.send("/mutate/enforce", "review").await.unwrap().status, 200);

    served.running.stop();

    let ready = served.admin("/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.body.as_str()), (503, "stopping\n"));
    assert_eq!(served.admin("/healthz").await.status, 200);

    let reply = http1.send(post("/mutate/enforce", "review")).await.unwrap();
    assert_eq!(
        (reply.status.as_u16(), reply.header("connection")),
        (200, "close")
    );
    closes(http1.connection).await;

    let reply = http2.send("/mutate/enforce", "review").await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("connection"), "", "HTTP/2 has no such header");
    // GOAWAY ends the connection although the client keeps its end.
    closes(http2.connection).await;

    // New connections are still taken.
    assert_eq!(
        served
            .send(post("/mutate/enforce", "review"))
            .await
            .header("connection"),
        "close"
    );
    assert_eq!(
        served.send(post("/nowhere", "review")).await.header("connection"),
        "close"
    );
    assert_eq!(log_lines(&served.directory), 5);

    served.running.stop();
    ends(served.running.ended()).await;
}

#[tokio::test]
async fn reviews_in_flight_are_answered_before_a_graceful_end() {
    let served = Served::new().await;
    let mut http1 = Http1::over(served.connect(&served.client()).await.unwrap()).await;
    let mut http2 = Http2::over(served.connect(&served.client().alpn("h2")).await.unwrap()).await;
    let first = tokio::spawn(async move { http1.send(post("/mutate/enforce", "wait")).await });
    let second = tokio::spawn(async move { http2.send("/mutate/enforce", "wait").await });
    served.puppet.has_one_waiting().await;
    served.puppet.has_one_waiting().await;

    served.running.stop();
    refuses_connections(served.running.local_addrs().webhook).await;
    // Readiness tells the truth until the webhook has ended.
    assert_eq!(served.admin("/readyz").await.status, 503);
    served.puppet.gate.add_permits(2);

    assert_eq!(first.await.unwrap().unwrap().status, 200);
    assert_eq!(second.await.unwrap().unwrap().status, 200);
    ends(served.running.ended()).await;
    assert_eq!(log_lines(&served.directory), 2);
}

#[tokio::test]
async fn a_second_stop_ends_at_once_whatever_is_in_flight() {
    let served = Served::with(|config| {
        config.shutdown_delay = FOR_EVER;
        config.drain_timeout = FOR_EVER;
    })
    .await;
    let mut connection = Http1::over(served.connect(&served.client()).await.unwrap()).await;
    let request = tokio::spawn(async move { connection.send(post("/mutate/enforce", "wait")).await });
    served.puppet.has_one_waiting().await;

    let stopper = served.running.stopper();
    stopper.stop();
    stopper.stop();

    ends(served.running.ended()).await;
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn a_second_stop_ends_the_draining_too() {
    let served = Served::with(|config| config.drain_timeout = FOR_EVER).await;
    let mut connection = Http1::over(served.connect(&served.client()).await.unwrap()).await;
    let request = tokio::spawn(async move { connection.send(post("/mutate/enforce", "wait")).await });
    served.puppet.has_one_waiting().await;

    served.running.stop();
    refuses_connections(served.running.local_addrs().webhook).await;
    served.running.stop();

    ends(served.running.ended()).await;
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn draining_does_not_wait_for_ever() {
    let served = Served::with(|config| config.drain_timeout = Duration::from_millis(1)).await;
    let mut connection = Http1::over(served.connect(&served.client()).await.unwrap()).await;
    let request = tokio::spawn(async move { connection.send(post("/mutate/enforce", "wait")).await });
    served.puppet.has_one_waiting().await;

    served.running.stop();

    ends(served.running.ended()).await;
    assert!(request.await.unwrap().is_err());
}

#[tokio::test]
async fn who_came_in_last_is_answered_although_nobody_is_accepted_any_more() {
    let (config, directory) = config();
    let mut app = App::new(config, Puppet::new()).unwrap();
    app.last_requests = FOR_EVER;
    app.config.drain_timeout = FOR_EVER;
    let puppet = app.judge.clone();
    let running = serve_app(Arc::new(app)).await.unwrap();
    let served = Served {
        running,
        puppet,
        directory,
    };
    let webhook = served.running.local_addrs().webhook;
    let mut last = Vec::new();
    for _ in 0..5 {
        last.push(TcpStream::connect(webhook).await.unwrap());
    }

    served.running.stop();
    refuses_connections(webhook).await;

    for (number, stream) in last.into_iter().enumerate() {
        if number % 2 == 0 {
            let stream = served.client().over(stream).await.unwrap();
            let reply = Http1::over(stream)
                .await
                .send(post("/mutate/enforce", "review"))
                .await
                .unwrap();
            assert_eq!(
                (reply.status.as_u16(), reply.header("connection")),
                (200, "close")
            );
        } else {
            let stream = served.client().alpn("h2").over(stream).await.unwrap();
            let reply = Http2::over(stream)
                .await
                .send("/mutate/enforce", "review")
                .await
                .unwrap();
            assert_eq!(reply.status, 200);
        }
    }
    ends(served.running.ended()).await;
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let served = Served::with(|config| config.drain_timeout = FOR_EVER).await;
    let idle = TcpStream::connect(served.running.local_addrs().webhook)
        .await
        .unwrap();
    let unused = served.connect(&served.client()).await.unwrap();
    let mut used = Http1::over(served.connect(&served.client()).await.unwrap()).await;
    used.send(post("/mutate/enforce", "review")).await.unwrap();
    let mut http2 = Http2::over(served.connect(&served.client().alpn("h2")).await.unwrap()).await;
    http2.send("/mutate/enforce", "review").await.unwrap();

    served.running.stop();

    ends(served.running.ended()).await;
    drop((idle, unused, used, http2));
}

#[tokio::test]
async fn a_dropped_server_ends() {
    let served = Served::new().await;
    let LocalAddrs { webhook, admin } = served.running.local_addrs();
    drop(served.running);
    refuses_connections(webhook).await;
    refuses_connections(admin).await;
}

#[tokio::test]
async fn the_first_signal_stops_and_the_second_ends() {
    let served = Served::with(|config| config.shutdown_delay = FOR_EVER).await;
    let Served {
        running,
        puppet: _puppet,
        directory: _directory,
    } = served;
    let admin = running.local_addrs().admin;
    let ready = async || {
        let request = Request::get("/readyz")
            .header("host", "localhost")
            .body(Body::empty())
            .unwrap();
        let stream = TcpStream::connect(admin).await.unwrap();
        Http1::over(stream).await.send(request).await.unwrap().status
    };
    let mut ended = Box::pin(running.until_signal());
    // From here on it listens for signals.
    assert!(futures::poll!(ended.as_mut()).is_pending());
    let ended = tokio::spawn(ended);
    assert_eq!(ready().await, 200);

    signal("TERM");
    eventually(async || ready().await == 503).await;
    signal("INT");

    ends(async { ended.await.unwrap() }).await;
}

/// Sends a signal to this process.
fn signal(name: &str) {
    let id = std::process::id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .unwrap()
            .success()
    );
}
