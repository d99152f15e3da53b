//! Values in memory, each under a secret that was made for it.

use std::collections::HashMap;

use carnet_engine::ids::random;
use carnet_jose::base64url;
use parking_lot::Mutex;

/// The most values of a kind; the oldest are forgotten first, so that strangers cannot fill the memory.
const MOST: usize = 1000;

/// Values of one kind.
#[derive(Debug)]
pub(crate) struct Kept<T>(Mutex<Values<T>>);

#[derive(Debug)]
struct Values<T> {
    /// Each with the number of values that were put before it.
    of: HashMap<String, (u64, T)>,
    made: u64,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(Values {
            of: HashMap::new(),
            made: 0,
        }))
    }
}

impl<T> Kept<T> {
    /// Keeps a value, and returns its secret.
    pub fn put(&self, value: T) -> String {
        let mut values = self.0.lock();
        if values.of.len() >= MOST {
            let oldest = values.of.iter().min_by_key(|(_, (made, _))| *made);
            if let Some(oldest) = oldest.map(|(secret, _)| secret.clone()) {
                values.of.remove(&oldest);
            }
        }
        let secret = base64url(random::<32>());
        values.made = values.made.saturating_add(1);
        let made = values.made;
        values.of.insert(secret.clone(), (made, value));
        secret
    }

    /// The value, which is forgotten.
    pub fn take(&self, secret: &str) -> Option<T> {
        let taken = self.0.lock().of.remove(secret);
        taken.map(|(_, value)| value)
    }
}

impl<T: Clone> Kept<T> {
    pub fn get(&self, secret: &str) -> Option<T> {
        let values = self.0.lock();
        values.of.get(secret).map(|(_, value)| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_value_makes_room_and_a_taken_one_is_gone() {
        let kept = Kept::default();
        let secrets: Vec<String> = (0..=MOST).map(|value| kept.put(value)).collect();
        assert_eq!(kept.get(&secrets[0]), None);
        assert_eq!(kept.get(&secrets[1]), Some(1));
        assert_eq!(kept.take(&secrets[MOST]), Some(MOST));
        assert_eq!(kept.take(&secrets[MOST]), None);
    }
}
