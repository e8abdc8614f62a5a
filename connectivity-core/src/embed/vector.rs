//! Helpers for vectors.

/// Returns the bytes of a vector: four per number, little endian, as the original Go package stores
/// them.
#[must_use]
pub fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Returns the vector of these bytes, `None` if their number is not a multiple of four.
#[must_use]
pub fn from_bytes(bytes: &[u8]) -> Option<Vec<f32>> {
    let (numbers, rest) = bytes.as_chunks();
    rest.is_empty().then(|| numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// Returns the Euclidean norm of a vector: its length in space.
#[must_use]
pub fn norm(vector: &[f32]) -> f64 {
    dot(vector, vector).sqrt()
}

/// Returns the cosine of the angle between two vectors, from -1 to 1. `None` if their lengths differ
/// or one of them has the norm 0.
#[must_use]
pub fn cosine(one: &[f32], other: &[f32]) -> Option<f64> {
    let norms = norm(one) * norm(other);
    (one.len() == other.len() && norms > 0.0).then(|| (dot(one, other) / norms).clamp(-1.0, 1.0))
}

fn dot(one: &[f32], other: &[f32]) -> f64 {
    one.iter().zip(other).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_little_endian_and_come_back() {
        let vector = [1.0, -0.5, f32::MAX];
        let bytes = to_bytes(&vector);
        assert_eq!(bytes[..8], [0, 0, 0x80, 0x3f, 0, 0, 0, 0xbf]);
        assert_eq!(from_bytes(&bytes).unwrap(), vector);
        assert_eq!(from_bytes(&[]), Some(Vec::new()));
        assert_eq!(from_bytes(&bytes[..7]), None);
    }

    #[test]
    fn angles_are_measured_where_there_are_any() {
        assert!((norm(&[3.0, 4.0]) - 5.0).abs() < 1e-12);
        let near = |cosine: Option<f64>, expected: f64| (cosine.unwrap() - expected).abs() < 1e-12;
        assert!(near(cosine(&[1.0, 0.0], &[0.0, 2.0]), 0.0));
        assert!(near(cosine(&[1.0, 2.0], &[2.0, 4.0]), 1.0));
        assert!(near(cosine(&[1.0, 2.0], &[-1.0, -2.0]), -1.0));
        assert!(near(cosine(&[f32::MAX; 4], &[f32::MAX; 4]), 1.0));
        assert_eq!(cosine(&[0.0], &[1.0]), None);
        assert_eq!(cosine(&[1.0], &[1.0, 1.0]), None);
        assert_eq!(cosine(&[], &[]), None);
    }
}
