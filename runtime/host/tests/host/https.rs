//! HTTPS of guests, against a real server of TLS.

use std::{net::SocketAddr, path::Path, sync::Arc};

use dunlin_host::{CacheConfig, Compile, Host, HostConfig, PipelineSource};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::scene::Scene;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret";

/// A server of `localhost`, and the certificate of the authority that vouches for it, in DER.
async fn server() -> (SocketAddr, Vec<u8>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust it hangs up.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    drop(stream.write_all(ANSWER).await);
                    drop(stream.shutdown().await);
                }
            });
        }
    });
    (address, authority.der().to_vec())
}

async fn fetched(url: &str, port: u16, roots: &[Vec<u8>]) -> String {
    let cache = CacheConfig::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
    let mut config = HostConfig::new(Compile::InProcess).cache(cache);
    config.roots = roots.to_vec();
    let host = Host::new(config).unwrap();
    let pipeline = host.load(PipelineSource::bytes("fetch", dunlin_host_guests::FETCH)).await.unwrap();
    let mut scene = Scene::bare(&format!("GET {url}"));
    let granted = [format!("localhost:{port}"), format!("127.0.0.0/8:{port}"), format!("[::1]:{port}")];
    scene.invocation.grants.http = granted.iter().map(|text| text.parse().unwrap()).collect();
    let outcome = host.invoke(&pipeline, scene.invocation).await;
    String::from_utf8(outcome.result.unwrap().body).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_server_is_believed_if_a_root_vouches_for_its_name() {
    let (address, root) = server().await;
    let port = address.port();
    let url = format!("https://localhost:{port}/");
    assert_eq!(fetched(&url, port, std::slice::from_ref(&root)).await, "200 secret");
    // Not by those that browsers trust, and not for another name.
    let stranger = fetched(&url, port, &[]).await;
    assert!(stranger.contains("Tls"), "{stranger}");
    let misnamed = fetched(&format!("https://127.0.0.1:{port}/"), port, &[root]).await;
    assert!(misnamed.contains("Tls"), "{misnamed}");
}
