//! The types of arguments, and what they need.
//!
//! For each type that a trait names, the macro makes a type without values, a tag, and everything
//! else speaks of the tag. What the user's type lacks is then wrong in one place, the tag's impl,
//! and the compiler reports it there, once, at the type as the user wrote it.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::service::Wire;

/// The tag of an argument that is given away.
pub trait Value: 'static {
    /// As it is written.
    type Type: Wire + 'static;
}

/// The tag of an argument `&T`.
pub trait Referent: 'static {
    /// The `T`.
    type Type: ?Sized + Lend<Owned = Self::Owned> + 'static;
    /// What `T` is cloned to.
    type Owned;
}

/// A type that can stand behind the `&` of an argument. Implemented for every such type; as with
/// [`Wire`], what it needs stands on the associated types.
#[diagnostic::on_unimplemented(
    message = "`&{Self}` cannot travel in a call of a connectivity service",
    label = "needs Clone, Serialize, Deserialize and Send",
    note = "add `#[derive(Clone, serde::Serialize, serde::Deserialize)]` to it, or to the type inside it that lacks them"
)]
pub trait Lend {
    /// The type itself.
    type Lent: ?Sized + Serialize;
    /// What it is cloned to.
    type Owned;
    /// The same.
    type Form: Serialize + DeserializeOwned + Send + 'static;

    /// Gives itself.
    fn lent(&self) -> &Self::Lent;
    /// Clones itself.
    fn to_form(&self) -> Self::Form;
    /// Gives the clone back.
    fn from_form(form: Self::Form) -> Self::Owned;
}

#[diagnostic::do_not_recommend]
impl<T> Lend for T
where
    T: ?Sized + Serialize + ToOwned,
    T::Owned: Serialize + DeserializeOwned + Send + 'static,
{
    type Lent = T;
    type Owned = T::Owned;
    type Form = T::Owned;

    fn lent(&self) -> &T {
        self
    }

    fn to_form(&self) -> T::Owned {
        self.to_owned()
    }

    fn from_form(form: T::Owned) -> T::Owned {
        form
    }
}

/// How an argument goes from the caller to the implementation.
pub trait Parameter: 'static {
    /// As the caller gives it.
    type Given<'a>;
    /// As the implementation's side gets it.
    type Owned;
    /// As it can be encoded without a copy.
    type Lent<'a>: Serialize;
    /// As it travels.
    type Form: Serialize + DeserializeOwned + Send + 'static;

    /// Prepares it to be encoded as it stands.
    fn lend(given: Self::Given<'_>) -> Self::Lent<'_>;
    /// Clones what is borrowed.
    fn into_form(given: Self::Given<'_>) -> Self::Form;
    /// Hands it over.
    fn from_form(form: Self::Form) -> Self::Owned;
}

/// An argument that the caller gives away; `T` is its tag.
#[derive(Debug)]
pub struct Own<T>(PhantomData<T>);

/// An argument that the caller lends; `T` is its tag.
#[derive(Debug)]
pub struct Ref<T>(PhantomData<T>);

impl<T: Value> Parameter for Own<T> {
    type Given<'a> = T::Type;
    type Owned = T::Type;
    type Lent<'a> = <T::Type as Wire>::Form;
    type Form = <T::Type as Wire>::Form;

    fn lend(given: Self::Given<'_>) -> Self::Lent<'_> {
        given.into_form()
    }

    fn into_form(given: Self::Given<'_>) -> Self::Form {
        given.into_form()
    }

    fn from_form(form: Self::Form) -> T::Type {
        Wire::from_form(form)
    }
}

impl<T: Referent> Parameter for Ref<T> {
    type Given<'a> = &'a T::Type;
    type Owned = T::Owned;
    type Lent<'a> = &'a <T::Type as Lend>::Lent;
    type Form = <T::Type as Lend>::Form;

    fn lend(given: Self::Given<'_>) -> Self::Lent<'_> {
        given.lent()
    }

    fn into_form(given: Self::Given<'_>) -> Self::Form {
        given.to_form()
    }

    fn from_form(form: Self::Form) -> T::Owned {
        T::Type::from_form(form)
    }
}
