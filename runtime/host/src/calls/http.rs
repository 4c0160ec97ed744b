//! `wasi:http`: outbound requests, to where the grants say. A host is resolved once, every address that it has is checked, and
//! the connection goes to one of those that were checked.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{Uri, uri::Scheme};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView, io::TokioIo,
    p2,
};

use crate::invoke::{
    budget::Meter,
    interrupt::Interrupt,
    outbound::{Host, Outbound},
    state::State,
};

/// Until a connection stands, TLS included, unless the pipeline says less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    p2::add_only_http_to_linker_async(linker)
}

/// What an invocation holds for its requests.
pub(crate) struct Http {
    context: WasiHttpCtx,
    hooks: Hooks,
}

impl Http {
    /// A request counts as a host call.
    pub(crate) fn new(outbound: Outbound, tls: Tls, interrupt: Interrupt, calls: Arc<Meter>) -> Self {
        Self { context: WasiHttpCtx::new(), hooks: Hooks { outbound, tls, interrupt, calls } }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http.context, table: &mut self.table, hooks: &mut self.http.hooks }
    }
}

struct Hooks {
    outbound: Outbound,
    tls: Tls,
    interrupt: Interrupt,
    calls: Arc<Meter>,
}

type Exchange = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Exchange, Error>> + Send> {
        let (outbound, tls, interrupt) = (self.outbound.clone(), self.tls.clone(), self.interrupt.clone());
        let counted = self.calls.take(1);
        Box::new(async move {
            counted.map_err(|_| Error::ConnectionLimitReached)?;
            let sending = send(request, options, &outbound, &tls, interrupt.clone());
            interrupt.unless_stopped(sending).await.unwrap_or(Err(Error::ConnectionTimeout))
        })
    }
}

/// Sends a request and waits for the head of its response. What follows of it comes while the second part is polled.
async fn send(
    mut request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
    outbound: &Outbound,
    tls: &Tls,
    interrupt: Interrupt,
) -> Result<Exchange, Error> {
    let target = Target::of(request.uri(), outbound)?;
    // A tunnel would lead to where nobody checks.
    if request.method() == http::Method::CONNECT {
        return Err(Error::HttpRequestMethodInvalid);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let connect_timeout = options.and_then(|options| options.connect_timeout).unwrap_or(CONNECT_TIMEOUT);
    let connecting = timeout(connect_timeout, target.connect(outbound, tls)).await;
    let stream = connecting.map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(async move {
        // Without its connection, a body that is not complete ends with an error.
        let ended = interrupt.unless_stopped(connection).await;
        ended.map_or(Err(Error::ConnectionTimeout), |ended| ended.map_err(Error::from))
    });
    let answering = sender.send_request(request);
    let first_byte = options.and_then(|options| options.first_byte_timeout);
    let answering = async {
        match first_byte {
            Some(most) => timeout(most, answering).await.map_err(|_| Error::ConnectionReadTimeout)?,
            None => answering.await,
        }
        .map_err(Error::from)
    };
    tokio::pin!(answering);
    let (answer, rest): (_, Option<Connection>) = tokio::select! {
        answer = &mut answering => (answer?, Some(connection)),
        ended = &mut connection => {
            ended?;
            (answering.await?, None)
        }
    };
    let io = async move {
        match rest {
            Some(connection) => connection.await,
            None => Ok(()),
        }
    };
    Ok((answer.map(|body| body.map_err(Error::from).boxed_unsync()), Box::new(io)))
}

type Connection = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Whom a request is for.
#[derive(Debug)]
struct Target {
    host: Host,
    port: u16,
    is_secure: bool,
}

impl Target {
    fn of(uri: &Uri, outbound: &Outbound) -> Result<Self, Error> {
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        if authority.as_str().contains('@') {
            return Err(Error::HttpRequestUriInvalid);
        }
        let is_secure = uri.scheme() == Some(&Scheme::HTTPS);
        let host = Host::of(authority.host());
        let port = authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        if !outbound.admits(&host, port) {
            tracing::info!(%authority, "a request to where the pipeline was not granted to send");
            return Err(Error::HttpRequestDenied);
        }
        Ok(Self { host, port, is_secure })
    }

    async fn connect(&self, outbound: &Outbound, tls: &Tls) -> Result<Box<dyn Stream>, Error> {
        let stream = dial(&self.addresses(outbound).await?).await?;
        if !self.is_secure {
            return Ok(Box::new(stream));
        }
        let name = match &self.host {
            Host::Name(name) => {
                ServerName::try_from(name.clone()).map_err(|_| Error::HttpRequestUriInvalid)?
            }
            Host::Address(address) => ServerName::from(*address),
        };
        let secured = tls.connector()?.connect(name, stream).await;
        Ok(Box::new(secured.map_err(Error::Tls)?))
    }

    /// All addresses of the host. One that is not granted spoils them all: whoever answers with it wants something else.
    async fn addresses(&self, outbound: &Outbound) -> Result<Vec<SocketAddr>, Error> {
        let addresses: Vec<SocketAddr> = match &self.host {
            Host::Address(address) => vec![SocketAddr::new(*address, self.port)],
            Host::Name(name) => lookup_host((name.as_str(), self.port))
                .await
                .map_err(|error| Error::DnsError { rcode: Some(error.to_string()), info_code: None })?
                .collect(),
        };
        if addresses.is_empty() {
            return Err(Error::DestinationNotFound);
        }
        match addresses.iter().find(|address| !outbound.reaches(address.ip(), self.port)) {
            Some(address) => {
                tracing::info!(host = ?self.host, %address, "a request to an address that is not public, and was not granted");
                Err(Error::DestinationIpProhibited)
            }
            None => Ok(addresses),
        }
    }
}

/// Who is trusted to be who they say: the roots that browsers trust, and those of the host. Made when it is needed.
#[derive(Clone, Default)]
pub(crate) struct Tls(Arc<(Vec<Vec<u8>>, OnceLock<TlsConnector>)>);

impl Tls {
    pub(crate) fn new(roots: Vec<Vec<u8>>) -> Self {
        Self(Arc::new((roots, OnceLock::new())))
    }

    fn connector(&self) -> Result<TlsConnector, Error> {
        let (own, made) = &*self.0;
        if let Some(connector) = made.get() {
            return Ok(connector.clone());
        }
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        roots.add_parsable_certificates(own.iter().cloned().map(CertificateDer::from));
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| Error::TlsProtocolError)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(made.get_or_init(|| Arc::new(config).into()).clone())
    }
}

/// The first address that answers.
async fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let mut failed = Error::DestinationUnavailable;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = Error::Connect(error),
        }
    }
    Err(failed)
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
