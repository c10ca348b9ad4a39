//! An HTTP client for the rig's own questions: small answers, each with a deadline.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

/// How long a connection that nobody asks on is kept: questions come each second, and who is not
/// asked any more is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps connections between questions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Error {
    /// The deadline passed.
    Late(Duration),
    /// The answer is longer than asked for, in bytes.
    Long(usize),
    /// No connection, or it was lost; the request may have arrived.
    Lost { connected: bool, text: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Late(timeout) => write!(f, "no answer within {timeout:?}"),
            Error::Long(limit) => write!(f, "the answer is longer than {limit} bytes"),
            Error::Lost { text, .. } => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl Client {
    /// A client for `http://` and, with the roots that are built in, `https://`.
    pub fn new() -> Client {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Client {
            inner: legacy::Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .build(connector),
        }
    }

    /// Asks for `uri`; the answer must be there, whole and of at most `limit` bytes, within
    /// `deadline`.
    ///
    /// # Errors
    /// See [`Error`]; any status is an answer.
    pub async fn ask(&self, uri: Uri, limit: usize, deadline: Duration) -> Result<Answer, Error> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri;
        self.send(request, limit, deadline).await
    }

    /// Posts JSON, with a bearer token if there is one (RFC 6750 2.1); for the rest as
    /// [`Client::ask`].
    ///
    /// # Errors
    /// See [`Error`]; any status is an answer.
    pub async fn post(
        &self,
        uri: Uri,
        json: String,
        authorization: Option<HeaderValue>,
        limit: usize,
        deadline: Duration,
    ) -> Result<Answer, Error> {
        let mut request = Request::new(Full::from(json));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        self.send(request, limit, deadline).await
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        limit: usize,
        deadline: Duration,
    ) -> Result<Answer, Error> {
        let answer = async {
            let response = self
                .inner
                .request(request)
                .await
                .map_err(|error| Error::Lost {
                    connected: !error.is_connect(),
                    text: chain(&error),
                })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), limit).collect().await;
            match body {
                Ok(body) => Ok(Answer {
                    status,
                    body: body.to_bytes(),
                }),
                Err(error) if error.is::<LengthLimitError>() => Err(Error::Long(limit)),
                Err(error) => Err(Error::Lost {
                    connected: true,
                    text: chain(&*error),
                }),
            }
        };
        match timeout(deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Late(deadline)),
        }
    }
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

/// An error and its causes: hyper's own words are only "client error (Connect)".
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
