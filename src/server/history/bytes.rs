//! Reading and writing the compact form of rows: variable-length integers in a byte string.

/// The stored bytes cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end too early.
    #[error("the row is truncated")]
    Truncated,
    /// The row is of a version that this program does not know.
    #[error("the row has the unknown version {0}")]
    Version(u8),
    /// The bytes describe no valid row.
    #[error("the row is damaged")]
    Invalid,
}

/// Appends an integer in 7-bit groups, the lowest first: 1 byte below 128, 10 bytes at most.
#[expect(clippy::cast_possible_truncation, reason = "masked to 7 bits")]
pub(super) fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Appends the difference between two numbers in zigzag order, so that small differences of both signs are short.
pub(super) fn put_change(bytes: &mut Vec<u8>, from: u32, to: u32) {
    let change = i64::from(to) - i64::from(from);
    put(bytes, ((change << 1) ^ (change >> 63)).cast_unsigned());
}

/// Appends a text with its length.
pub(super) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// Reads what the functions above have written.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Checks the version, which is the first byte.
    pub(super) fn new(bytes: &'a [u8], version: u8) -> Result<Self, DecodeError> {
        let mut reader = Self(bytes);
        match reader.byte()? {
            found if found == version => Ok(reader),
            found => Err(DecodeError::Version(found)),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.0.split_first().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn int(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                return Err(DecodeError::Invalid);
            }
            value |= group << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid)
    }

    /// An integer of a smaller type.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeError> {
        T::try_from(self.int()?).map_err(|_| DecodeError::Invalid)
    }

    /// The number that differs from `from` by the change that follows.
    pub(super) fn changed(&mut self, from: u32) -> Result<u32, DecodeError> {
        let zigzag = self.int()?;
        let change = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        let to = i64::from(from).checked_add(change).ok_or(DecodeError::Invalid)?;
        u32::try_from(to).map_err(|_| DecodeError::Invalid)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.small()?;
        str::from_utf8(self.take(length)?).map_err(|_| DecodeError::Invalid)
    }

    /// Checks that nothing follows.
    pub(super) fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Invalid) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_what_was_written(value: u64, from: u32, to: u32, text: String) {
            let mut bytes = vec![7];
            put(&mut bytes, value);
            put_change(&mut bytes, from, to);
            put_text(&mut bytes, &text);
            let mut reader = Reader::new(&bytes, 7).unwrap();
            prop_assert_eq!(reader.int(), Ok(value));
            prop_assert_eq!(reader.changed(from), Ok(to));
            prop_assert_eq!(reader.text(), Ok(&*text));
            prop_assert_eq!(reader.end(), Ok(()));
            prop_assert_eq!(Reader::new(&bytes, 8).err(), Some(DecodeError::Version(7)));
        }

        #[test]
        fn never_panics(bytes: Vec<u8>, from: u32) {
            if let Ok(mut reader) = Reader::new(&bytes, 1) {
                while reader.changed(from).is_ok() && reader.text().is_ok() && reader.small::<u16>().is_ok() {}
            }
        }
    }
}
