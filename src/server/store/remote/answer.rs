//! Reads the responses of scripts.

use redis::{FromRedisValue, Value, from_redis_value};

use crate::{
    domain::Timestamp,
    server::store::{Mark, StoreError},
};

/// The result for a channel, or the error that it names.
pub(super) fn channel_result(value: &Value) -> Result<&str, StoreError> {
    match text(value)? {
        "!damaged" => Err(StoreError::Damaged),
        "!newer" => Err(StoreError::Newer),
        text => Ok(text),
    }
}

pub(super) fn parse_timestamp(word: &str) -> Result<Timestamp, StoreError> {
    word.parse().map(Timestamp::from_millis).map_err(|_| StoreError::unexpected())
}

/// A string in a response.
pub(super) fn text(value: &Value) -> Result<&str, StoreError> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).map_err(|_| StoreError::unexpected()),
        _ => Err(StoreError::unexpected()),
    }
}

pub(super) fn parse_count(word: Option<&str>) -> Result<u32, StoreError> {
    word.and_then(|word| word.parse().ok()).ok_or_else(StoreError::unexpected)
}

/// A mark, or `None` if the word is missing or empty.
pub(super) fn parse_mark(word: Option<&str>) -> Option<Mark> {
    word.and_then(|word| u64::from_str_radix(word, 16).ok()).map(Mark)
}

pub(super) fn parse<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    from_redis_value(value).map_err(|_| StoreError::unexpected())
}

/// Flattens the responses of calls into one result for each item.
pub(super) fn flatten<T, A>(
    calls: &[&[T]],
    responses: Vec<Result<Vec<Result<A, StoreError>>, StoreError>>,
) -> Vec<Result<A, StoreError>> {
    let mut flat = Vec::new();
    for (items, response) in calls.iter().zip(responses) {
        match response {
            Ok(results) if results.len() == items.len() => flat.extend(results),
            Ok(_) => flat.extend(items.iter().map(|_| Err(StoreError::unexpected()))),
            Err(error) => flat.extend(items.iter().map(|_| Err(error.clone()))),
        }
    }
    flat
}
