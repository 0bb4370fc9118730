//! What only a real connection shows.

use futures::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn both_protocols_are_spoken_by_alpn_and_http_1_1_without_it() {
    let served = Served::new().await;

    let stream = served.connect(&served.client().alpn("h2")).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let reply = Http2::over(stream)
        .await
        .send("/validate/enforce", "review")
        .await
        .unwrap();
    assert_eq!(reply.status, 200);

    let stream = served.connect(&served.client().alpn("http/1.1")).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut connection = Http1::over(stream).await;
    for _ in 0..2 {
        assert_eq!(
            connection
                .send(post("/mutate/enforce", "review"))
                .await
                .unwrap()
                .status,
            200
        );
    }

    let stream = served.connect(&served.client()).await.unwrap();
    assert_eq!(
        Http1::over(stream)
            .await
            .send(post("/mutate/enforce", "review"))
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(log_lines(&served.directory), 4);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_answered_with_413_by_both_protocols_however_it_is_sent() {
    let served = Served::new().await;
    let size = 7 * 1024 * 1024 + 1;
    let chunked = || {
        let chunks = vec![Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; size / 8 + 1])); 8];
        Body::from_stream(stream::iter(chunks))
    };
    for body in [Body::from(vec![b' '; size]), chunked()] {
        let reply = served.send(post("/mutate/enforce", body)).await;
        assert_eq!(reply.status, 413);
        assert!(reply.error().contains("7 MiB"), "{reply:?}");
    }
    for body in [Body::from(vec![b' '; size]), chunked()] {
        let stream = served.connect(&served.client().alpn("h2")).await.unwrap();
        let reply = Http2::over(stream)
            .await
            .send("/mutate/enforce", body)
            .await
            .unwrap();
        assert_eq!(reply.status, 413);
    }
    assert_eq!(
        served
            .send(post("/mutate/enforce", vec![b' '; size - 1]))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_panic_leaves_its_connection_usable() {
    let served = Served::new().await;
    let mut http1 = Http1::over(served.connect(&served.client()).await.unwrap()).await;
    assert_eq!(
        http1.send(post("/mutate/enforce", "panic")).await.unwrap().status,
        500
    );
    assert_eq!(
        http1
            .send(post("/mutate/enforce", "review"))
            .await
            .unwrap()
            .status,
        200
    );

    let mut http2 = Http2::over(served.connect(&served.client().alpn("h2")).await.unwrap()).await;
    assert_eq!(http2.send("/mutate/enforce", "panic").await.unwrap().status, 500);
    assert_eq!(http2.send("/mutate/enforce", "review").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_its_review() {
    let served = Served::with(|config| config.concurrency = 1).await;
    for alpn in ["http/1.1", "h2"] {
        let stream = served.connect(&served.client().alpn(alpn)).await.unwrap();
        if alpn == "h2" {
            let Http2 {
                mut sender,
                connection,
            } = Http2::over(stream).await;
            let request = tokio::spawn(sender.send_request(post("https://localhost/mutate/enforce", "wait")));
            served.puppet.has_one_waiting().await;
            request.abort();
            drop(sender);
            connection.abort();
        } else {
            let Http1 {
                mut sender,
                connection,
            } = Http1::over(stream).await;
            let request = tokio::spawn(sender.send_request(post("/mutate/enforce", "wait")));
            served.puppet.has_one_waiting().await;
            request.abort();
            connection.abort();
        }
        // The only place is free as soon as the server has noticed.
        eventually(async || served.send(post("/mutate/enforce", "review")).await.status == 200).await;
    }
}

#[tokio::test]
async fn noise_on_either_port_harms_nobody() {
    let served = Served::new().await;
    let LocalAddrs { webhook, admin } = served.running.local_addrs();
    let idle: Vec<_> = futures::future::join_all((0..50).map(|_| TcpStream::connect(webhook))).await;
    for address in [webhook, admin] {
        for noise in [
            &b""[..],
            b"\0\0\0\0",
            b"GET",
            b"POST /mutate/warn HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\xff\xff",
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(noise).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }
    assert_eq!(served.send(post("/mutate/enforce", "review")).await.status, 200);
    assert_eq!(served.admin("/healthz").await.status, 200);
    drop(idle);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let (mut config, _directory) = config();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    config.admin_listen = taken.local_addr().unwrap();
    let error = serve(config, Puppet::new()).await.unwrap_err().to_string();
    let expected = format!(
        "cannot listen on {} for the admin pages",
        taken.local_addr().unwrap()
    );
    assert!(
        error.contains(&expected) && error.contains("another process"),
        "{error}"
    );
}

#[tokio::test]
async fn the_admin_listener_speaks_plain_http() {
    let served = Served::new().await;
    assert_eq!(served.admin("/healthz").await.body, "ok\n");
    assert_eq!(served.admin("/readyz").await.body, "ok\n");
    assert!(
        served
            .admin("/metrics")
            .await
            .body
            .contains("lanekeeper_panics_total 0\n")
    );
}
