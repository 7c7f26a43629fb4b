//! What every address of a family has, as a function with steps: each begins where the one before it ends.

/// Addresses of both families are 128 bits here; those of IPv4 are the first 32 of them.
pub(super) type Address = u128;

/// Neighbours differ, addresses ascend, and the first is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Steps<T> {
    steps: Vec<(Address, T)>,
    /// Where the last network ended, and the next one may begin: none past the last address.
    next: Option<Address>,
}

/// A network that does not come after those before it: a tree cannot have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disordered;

impl<T: Copy + Default + PartialEq> Default for Steps<T> {
    fn default() -> Self {
        Self { steps: vec![(0, T::default())], next: Some(0) }
    }
}

impl<T: Copy + Default + PartialEq> Steps<T> {
    /// Appends the network of `bits` bits at `first`.
    pub(super) fn push(&mut self, first: Address, bits: u32, value: T) -> Result<(), Disordered> {
        let next = self.next.ok_or(Disordered)?;
        if first < next {
            return Err(Disordered);
        }
        if first > next {
            self.step(next, T::default());
        }
        self.step(first, value);
        self.next = (first | Address::MAX.checked_shr(bits).unwrap_or(0)).checked_add(1);
        Ok(())
    }

    /// Nothing behind the last network.
    pub(super) fn end(mut self) -> Self {
        if let Some(next) = self.next.take() {
            self.step(next, T::default());
        }
        self
    }

    pub(super) fn step(&mut self, at: Address, value: T) {
        if let Some((start, last)) = self.steps.last_mut()
            && *start == at
        {
            *last = value;
        } else {
            self.steps.push((at, value));
        }
        // A step to where it is already is none.
        if let [.., before, last] = self.steps.as_slice()
            && before.1 == last.1
        {
            self.steps.pop();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Address, T)> + '_ {
        self.steps.iter().copied()
    }

    /// First and last address of each step.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (Address, Address, T)> + '_ {
        let ends = self.steps.iter().skip(1).map(|(start, _)| start - 1).chain([Address::MAX]);
        self.steps.iter().zip(ends).map(|((start, value), end)| (*start, end, *value))
    }
}
