//! A request that makes work: who asks, how, and for what, up to the invocations that it becomes.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{FromRequest, FromRequestParts, Request},
};
use http::StatusCode;

use crate::{
    auth::Caller,
    body::{self, Fields},
    call::{self, Answers, Call, Manner},
    desk::Desk,
    error::{Answered, ApiError},
};

/// Who asks, and how they want to be treated.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) desk: Arc<Desk>,
    pub(crate) caller: Caller,
    pub(crate) manner: Manner,
}

/// With the fields of a body that is a JSON object.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) by: Asking,
    pub(crate) fields: Fields,
}

impl FromRequest<Arc<Desk>> for Asked {
    type Rejection = ApiError;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Answered<Self> {
        let (mut parts, body) = request.into_parts();
        let caller = Extension::<Caller>::from_request_parts(&mut parts, desk).await;
        let Ok(Extension(caller)) = caller else {
            let message = "nobody looked who asks: a bug of Dunlin";
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message));
        };
        // What is wrong with the head is told before the body is waited for.
        let manner = Manner::read(&parts.headers)?;
        let fields = body::fields(body).await?;
        Ok(Self { by: Asking { desk: desk.clone(), caller, manner }, fields })
    }
}

impl Asking {
    /// Begins an invocation of each call.
    ///
    /// # Errors
    /// As [`call::begin`]; and if a stream of several answers is to be taken up again.
    pub(crate) async fn begin(&self, calls: Vec<Call>) -> Answered<Answers> {
        if self.manner.resumes.is_some() && calls.len() > 1 {
            return Err(cannot_resume("a stream of several answers"));
        }
        call::begin(&self.desk, &self.caller, &self.manner, calls).await
    }

    /// As [`Self::begin`], where events have no ids by which one could come back.
    ///
    /// # Errors
    /// The same, and if somebody tries to.
    pub(crate) async fn begin_anew(&self, call: Call) -> Answered<Answers> {
        if self.manner.resumes.is_some() {
            return Err(cannot_resume("a stream of this API"));
        }
        self.begin(vec![call]).await
    }
}

fn cannot_resume(what: &str) -> ApiError {
    ApiError::unsupported("last-event-id", format!("{what} cannot be taken up again"))
}
