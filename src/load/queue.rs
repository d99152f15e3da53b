//! A queue in which sources take turns, and within a source its accounts.

use std::collections::VecDeque;

/// Items in the order in which they are served, by source and account.
#[derive(Debug)]
pub(super) struct FairQueue<S, A, T> {
    /// The next source is in front.
    sources: VecDeque<OfSource<S, A, T>>,
    len: usize,
}

#[derive(Debug)]
struct OfSource<S, A, T> {
    source: S,
    /// The next account is in front.
    accounts: VecDeque<(A, VecDeque<T>)>,
}

impl<S, A, T> Default for FairQueue<S, A, T> {
    fn default() -> Self {
        Self {
            sources: VecDeque::new(),
            len: 0,
        }
    }
}

impl<S, A, T> OfSource<S, A, T> {
    fn len(&self) -> usize {
        self.accounts.iter().map(|(_, items)| items.len()).sum()
    }
}

impl<S: Copy + PartialEq, A: PartialEq, T> FairQueue<S, A, T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an item.
    pub(super) fn push(&mut self, source: S, account: A, item: T) {
        let at = self.position(source);
        if let Some(of_source) = self.sources.get_mut(at) {
            let accounts = &mut of_source.accounts;
            match accounts.iter_mut().find(|(known, _)| *known == account) {
                Some((_, items)) => items.push_back(item),
                None => accounts.push_back((account, VecDeque::from([item]))),
            }
            self.len = self.len.saturating_add(1);
        }
    }

    /// Keeps the items for which `holds` is true.
    pub(super) fn retain(&mut self, holds: impl Fn(&T) -> bool) {
        for of_source in &mut self.sources {
            for (_, items) in &mut of_source.accounts {
                items.retain(&holds);
            }
            of_source.accounts.retain(|(_, items)| !items.is_empty());
        }
        self.sources.retain(|of| !of.accounts.is_empty());
        self.len = self.sources.iter().map(OfSource::len).sum();
    }

    /// The next item of a source that is wanted.
    pub(super) fn pop(&mut self, is_wanted: impl Fn(&S) -> bool) -> Option<(S, T)> {
        let at = self.sources.iter().position(|of| is_wanted(&of.source))?;
        let mut of_source = self.sources.remove(at)?;
        let source = of_source.source;
        let (account, mut items) = of_source.accounts.pop_front()?;
        let item = items.pop_front()?;
        self.len = self.len.saturating_sub(1);
        if !items.is_empty() {
            of_source.accounts.push_back((account, items));
        }
        if !of_source.accounts.is_empty() {
            self.sources.push_back(of_source);
        }
        Some((source, item))
    }

    /// The place of a source, which is added if it has none.
    fn position(&mut self, source: S) -> usize {
        let found = self.sources.iter().position(|of| of.source == source);
        found.unwrap_or_else(|| {
            self.sources.push_back(OfSource {
                source,
                accounts: VecDeque::new(),
            });
            self.sources.len().saturating_sub(1)
        })
    }

    /// Removes the newest item of the account with the most, of the source with the most: one with
    /// many accounts has no more room than one with few.
    pub(super) fn remove_newest_of_the_longest(&mut self) -> Option<T> {
        let (at, _) = (self.sources.iter().enumerate()).max_by_key(|(_, of)| of.len())?;
        let of_source = self.sources.get_mut(at)?;
        let accounts = of_source.accounts.iter_mut().enumerate();
        let (place, (_, items)) = accounts.max_by_key(|(_, (_, items))| items.len())?;
        let item = items.pop_back();
        if items.is_empty() {
            of_source.accounts.remove(place);
        }
        if of_source.accounts.is_empty() {
            self.sources.remove(at);
        }
        self.len = self.len.saturating_sub(usize::from(item.is_some()));
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(queue: &mut FairQueue<u8, char, u8>) -> Vec<u8> {
        std::iter::from_fn(|| queue.pop(|_| true))
            .map(|(_, item)| item)
            .collect()
    }

    fn queue(items: &[(u8, char, u8)]) -> FairQueue<u8, char, u8> {
        let mut queue = FairQueue::default();
        for (source, account, item) in items {
            queue.push(*source, *account, *item);
        }
        queue
    }

    #[test]
    fn sources_and_their_accounts_take_turns() {
        let mut queue = queue(&[
            (1, 'a', 1),
            (1, 'a', 2),
            (1, 'b', 3),
            (2, 'c', 4),
            (2, 'c', 5),
        ]);
        assert_eq!(queue.len(), 5);
        assert_eq!(served(&mut queue), [1, 4, 3, 5, 2]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn an_unwanted_source_keeps_its_place() {
        let mut queue = queue(&[(1, 'a', 1), (2, 'a', 2), (1, 'a', 3)]);
        assert_eq!(queue.pop(|source| *source == 2), Some((2, 2)));
        assert_eq!(queue.pop(|source| *source == 2), None);
        assert_eq!(served(&mut queue), [1, 3]);
    }

    #[test]
    fn the_longest_account_of_the_longest_source_loses_its_newest_item() {
        let mut queue = queue(&[
            (1, 'a', 1),
            (1, 'b', 2),
            (1, 'b', 3),
            (2, 'c', 4),
            (2, 'c', 5),
        ]);
        assert_eq!(queue.remove_newest_of_the_longest(), Some(3));
        assert_eq!(queue.len(), 4);
        queue.push(2, 'd', 6);
        assert_eq!(queue.remove_newest_of_the_longest(), Some(5));
        assert_eq!(served(&mut queue), [1, 4, 2, 6]);
    }

    #[test]
    fn items_that_are_not_kept_leave_no_turns_behind() {
        let mut queue = queue(&[(1, 'a', 1), (1, 'b', 2), (2, 'c', 3), (2, 'c', 4)]);
        queue.retain(|item| *item % 2 == 0);
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.pop(|_| true), Some((1, 2)));
        assert_eq!(queue.pop(|_| true), Some((2, 4)));
        assert_eq!(queue.pop(|_| true), None);
    }
}
