//! Keys of a store and the password of a database are told nowhere, however much is logged, by processes that are refused with
//! them.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use crate::support::{
    PLAIN, Place,
    processes::{GatewayProcess, Nats, client, wait_for},
};

/// As much as there is, also of the libraries that know the secrets.
const LOG: &str = "trace";
const KEY: &str = "AKIACANARYOFTHESTORE";
const SECRET: &str = "canary/secret+of/the/store/0123456789abcd";
const TOKEN: &str = "canary+token/of=the=store-0123456789abcdef";
const PASSWORD: &str = "canary-password-of-the-database";

/// Serves each connection on a thread of its own, for as long as the test's process lives; the port.
fn serve(answer: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // One that breaks off is the client's to notice.
            thread::spawn(move || drop(answer(stream)));
        }
    });
    port
}

/// A store that refuses every signature, and repeats what it was asked with, as S3 does.
fn refusing_store() -> u16 {
    serve(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if line.trim().is_empty() {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or_default();
                }
                head.push_str(&line);
            }
            std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
            let body = format!(
                "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>{KEY}</AWSAccessKeyId>\
                 <CanonicalRequest>{head}</CanonicalRequest></Error>"
            );
            write!(
                stream,
                "HTTP/1.1 403 Forbidden\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )?;
        }
    })
}

/// A database that asks for a password and refuses it; the passwords that it was given.
fn refusing_database() -> (u16, Arc<Mutex<Vec<String>>>) {
    let given = Arc::<Mutex<Vec<String>>>::default();
    let notes = Arc::clone(&given);
    let port = serve(move |mut stream| {
        read_message(&mut stream)?;
        // In clear text: the client sends the password itself.
        stream.write_all(&[b'R', 0, 0, 0, 8, 0, 0, 0, 3])?;
        stream.read_exact(&mut [0])?;
        let password = read_message(&mut stream)?;
        let password = String::from_utf8_lossy(&password).trim_end_matches('\0').to_owned();
        notes.lock().expect("no panic while it is held").push(password);
        let fields = b"SFATAL\0C28P01\0Mpassword authentication failed for user \"docket\"\0\0";
        stream.write_all(b"E")?;
        stream.write_all(&u32::try_from(fields.len() + 4).expect("a few bytes").to_be_bytes())?;
        stream.write_all(fields)
    });
    (port, given)
}

/// The rest of a message of PostgreSQL, whose length, itself included, comes first.
fn read_message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u32::from_be_bytes(length).saturating_sub(4) as usize];
    stream.read_exact(&mut message).map(|()| message)
}

/// All files of a folder, as text.
fn files(folder: &Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.push_str(&files(&path));
        } else {
            // One that is gone meanwhile holds nothing any more.
            all.push_str(&String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()));
        }
    }
    all
}

#[track_caller]
fn untold(secrets: &[&str], places: &[(&str, &str)]) {
    for (place, text) in places {
        assert!(!text.is_empty(), "{place}: nothing was looked at");
        for (number, secret) in secrets.iter().enumerate() {
            // The value itself, and what surrounds it, is not printed.
            assert!(!text.contains(secret), "secret {number} is in {place}");
        }
    }
}

#[test]
fn keys_of_a_store_that_refuses_and_repeats_them_are_told_nowhere() {
    let Some(nats) = Nats::start() else { return };
    let endpoint = format!("http://127.0.0.1:{}", refusing_store());
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    let config = format!(
        "resources: [pipeline.yaml]\nnats: {{servers: ['{}'], lease: 3s}}\npayloads: 's3://bucket/prefix'\n",
        nats.url
    );
    let variables = [
        ("AWS_ENDPOINT", endpoint.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_SESSION_TOKEN", TOKEN),
    ];
    let mut gateway = GatewayProcess::start_with(&place, &config, LOG, &variables);
    let address = format!("{}/v1/pipelines/plain/documents?id=refused", gateway.http);
    let refused = client().post(address).body("a text").send().expect("it answers");
    assert!(refused.status().is_server_error(), "{}", refused.status());
    let answer = refused.text().expect("text");
    wait_for("the refusal in the log", || gateway.process.said().contains("SignatureDoesNotMatch").then_some(()));
    let (said, metrics) = (gateway.process.said(), gateway.metrics());
    let kept = files(nats.folder());
    let places = [("the log", &*said), ("the answer", &answer), ("the metrics", &metrics), ("the broker", &kept)];
    untold(&[KEY, SECRET, TOKEN], &places);
}

#[test]
fn the_password_of_a_database_that_refuses_it_is_told_nowhere() {
    let (port, given) = refusing_database();
    let place = Place::new();
    let postgres = format!("{{url: 'postgres://docket@127.0.0.1:{port}/results', passwordEnv: RESULTS_PASSWORD}}");
    let results = format!("spec:\n  results: {{postgres: {postgres}}}\n  stages:");
    place.write("pipeline.yaml", PLAIN.replace("spec:\n  stages:", &results));
    let config = "resources: [pipeline.yaml]\nstate: state\n";
    let mut gateway = GatewayProcess::start_with(&place, config, LOG, &[("RESULTS_PASSWORD", PASSWORD)]);
    let documents = format!("{}/v1/pipelines/plain/documents", gateway.http);
    let submitted = client().post(format!("{documents}?id=kept")).body("a text").send().expect("it answers");
    assert_eq!(submitted.status(), 202);
    let waiting = wait_for("a failed attempt", || {
        let text = client().get(format!("{documents}/kept")).send().expect("it answers").text().expect("text");
        text.contains("ResultsUnavailable").then_some(text)
    });
    assert!(waiting.contains("password authentication failed"), "{waiting}");
    assert_eq!(given.lock().expect("no panic while it is held").first().map(String::as_str), Some(PASSWORD));
    let (said, metrics) = (gateway.process.said(), gateway.metrics());
    let kept = files(&place.path("state"));
    let places = [("the log", &*said), ("the document", &waiting), ("the metrics", &metrics), ("the state", &kept)];
    untold(&[PASSWORD], &places);
}
