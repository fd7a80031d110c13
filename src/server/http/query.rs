//! The queries of calls.

use axum::{extract::Query, http::Uri};
use serde::de::DeserializeOwned;

use crate::api::{Code, Problem};

/// The parameters of a query. Unknown ones are ignored.
///
/// # Errors
/// `malformed`, with `detail` if a parameter is not valid, or with the name of one that is repeated.
pub fn query<T: DeserializeOwned>(uri: &Uri, detail: &str) -> Result<T, Problem> {
    let Query(query) = Query::try_from_uri(uri).map_err(|rejection| {
        let malformed = Problem::new(Code::Malformed);
        match repeated(&rejection.body_text()) {
            Some(name) => malformed.detail(format!("{name} is given more than once")),
            None => malformed.detail(detail),
        }
    })?;
    Ok(query)
}

/// The name in serde's error about a repeated field.
fn repeated(error: &str) -> Option<&str> {
    let (_, rest) = error.split_once("duplicate field `")?;
    rest.split_once('`').map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Numbers {
        first: Option<u32>,
        second: Option<u32>,
    }

    #[test]
    fn an_error_says_which_parameter_is_repeated() {
        let of =
            |text: &str| query::<Numbers>(&format!("/?{text}").parse().unwrap(), "first must be a number");
        let Numbers { first, second } = of("second=2&other=x&first=1").unwrap();
        assert_eq!((first, second), (Some(1), Some(2)));
        for (text, expected) in [
            ("first=x", "first must be a number"),
            ("second=1&second=2", "second is given more than once"),
            ("first=1&second=2&first=1", "first is given more than once"),
        ] {
            let error = of(text).err().unwrap();
            assert_eq!(error, Problem::malformed(expected), "{text}");
        }
    }
}
