//! The two kinds of claims that are signed, and what keeps them apart.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Claims, Notice, TenantId};

/// What the bridge signs: [`Claims`] and [`Notice`]s. One is never taken for the other: each has fields that the
/// other must not have, and a topic of its own kind.
pub trait Signed: Serialize + DeserializeOwned + private::Sealed {
    #[doc(hidden)]
    const DEAD_LETTER: bool;
    #[doc(hidden)]
    fn bound(&self) -> Bound<'_>;
}

/// What binds claims to a topic and a time.
#[doc(hidden)]
pub struct Bound<'a> {
    pub(crate) aud: &'a str,
    pub(crate) tid: &'a TenantId,
    pub(crate) exp: i64,
}

mod private {
    pub trait Sealed {}
    impl Sealed for crate::Claims {}
    impl Sealed for crate::Notice {}
}

impl Signed for Claims {
    const DEAD_LETTER: bool = false;

    fn bound(&self) -> Bound<'_> {
        Bound { aud: &self.aud, tid: &self.tid, exp: self.exp }
    }
}

impl Signed for Notice {
    const DEAD_LETTER: bool = true;

    fn bound(&self) -> Bound<'_> {
        Bound { aud: &self.aud, tid: &self.tid, exp: self.exp }
    }
}
