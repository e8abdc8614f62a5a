//! The types of arguments and their bounds.
//!
//! For each argument type of a contract, the macro generates an uninhabited tag type, and all other
//! generated code refers to the tag. A missing bound of the user's type then breaks only the impl
//! of the tag, and the compiler reports it once, at the type that the user wrote.

use std::borrow::{Borrow, Cow};
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::ser::{Serialize, Serializer};

use crate::service::Wire;

/// The tag of an argument that is passed by value.
pub trait Value: 'static {
    /// The type as the user wrote it.
    type Type: Wire + 'static;
}

/// The tag of an argument `&T`, `Option<&T>`, `&[&T]` or `Cow<'_, T>`.
pub trait Referent: 'static {
    /// The `T`.
    type Type: ?Sized + Lend<Owned = Self::Owned> + 'static;
    /// The owned form of `T`.
    type Owned;
}

/// A type that an argument can reference with `&`. Implemented for every such type; as with
/// [`Wire`], the bounds are on the associated types.
#[diagnostic::on_unimplemented(
    message = "`&{Self}` cannot travel in a call of a connectivity service",
    label = "needs Clone, Serialize, Deserialize and Send",
    note = "add `#[derive(Clone, serde::Serialize, serde::Deserialize)]` to it, or to the type inside it that lacks them"
)]
pub trait Lend {
    /// The type itself, with its bounds.
    type Lent: ?Sized + Serialize;
    /// The owned form.
    type Owned;
    /// The owned form, with its bounds.
    type Form: Serialize + DeserializeOwned + Send + 'static;

    /// Returns `self`.
    fn lent(&self) -> &Self::Lent;
    /// Clones `self` to its owned form.
    fn to_form(&self) -> Self::Form;
    /// Returns `form`.
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

/// The conversions of an argument on its way from the caller to the implementation.
pub trait Parameter: 'static {
    /// The argument as the caller passes it.
    type Given<'a>;
    /// The argument as the generated dispatch receives it.
    type Owned;
    /// The argument in a form that can be encoded without a copy.
    type Lent<'a>: Serialize;
    /// The argument as a call carries it.
    type Form: Serialize + DeserializeOwned + Send + 'static;

    /// Borrows the argument for encoding, without a copy.
    fn lend(given: Self::Given<'_>) -> Self::Lent<'_>;
    /// Clones a borrowed argument or moves an owned one.
    fn into_form(given: Self::Given<'_>) -> Self::Form;
    /// Converts the argument for the generated dispatch.
    fn from_form(form: Self::Form) -> Self::Owned;
}

/// An argument passed by value; `T` is its tag.
#[derive(Debug)]
pub struct Own<T>(PhantomData<T>);

/// An argument passed by reference; `T` is its tag.
#[derive(Debug)]
pub struct Ref<T>(PhantomData<T>);

/// An argument `Option<&T>`; `T` is the tag of `&T`.
#[derive(Debug)]
pub struct OptionRef<T>(PhantomData<T>);

/// An argument `&[&T]`; `T` is the tag of `&T`.
#[derive(Debug)]
pub struct SliceRef<T>(PhantomData<T>);

/// An argument `Cow<'_, T>`; `T` is the tag of `&T`.
#[derive(Debug)]
pub struct CowRef<T>(PhantomData<T>);

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

impl<T: Referent> Parameter for OptionRef<T> {
    type Given<'a> = Option<&'a T::Type>;
    type Owned = Option<T::Owned>;
    type Lent<'a> = Option<&'a <T::Type as Lend>::Lent>;
    type Form = Option<<T::Type as Lend>::Form>;

    fn lend(given: Self::Given<'_>) -> Self::Lent<'_> {
        given.map(Lend::lent)
    }

    fn into_form(given: Self::Given<'_>) -> Self::Form {
        given.map(Lend::to_form)
    }

    fn from_form(form: Self::Form) -> Self::Owned {
        form.map(T::Type::from_form)
    }
}

impl<T: Referent> Parameter for SliceRef<T> {
    type Given<'a> = &'a [&'a T::Type];
    type Owned = Vec<T::Owned>;
    type Lent<'a> = Vec<&'a <T::Type as Lend>::Lent>;
    type Form = Vec<<T::Type as Lend>::Form>;

    fn lend(given: Self::Given<'_>) -> Self::Lent<'_> {
        given.iter().map(|element| T::Type::lent(element)).collect()
    }

    fn into_form(given: Self::Given<'_>) -> Self::Form {
        given.iter().map(|element| T::Type::to_form(element)).collect()
    }

    fn from_form(form: Self::Form) -> Self::Owned {
        form.into_iter().map(T::Type::from_form).collect()
    }
}

impl<T> Parameter for CowRef<T>
where
    T: Referent,
    T::Type: ToOwned<Owned = T::Owned>,
    T::Owned: Borrow<T::Type>,
{
    type Given<'a> = Cow<'a, T::Type>;
    type Owned = T::Owned;
    type Lent<'a> = LentCow<'a, T::Type>;
    type Form = <T::Type as Lend>::Form;

    fn lend(given: Self::Given<'_>) -> Self::Lent<'_> {
        LentCow(given)
    }

    /// Clones what it owns, too: no conversion leads from the owned form to the form of a call.
    fn into_form(given: Self::Given<'_>) -> Self::Form {
        T::Type::to_form(&given)
    }

    fn from_form(form: Self::Form) -> T::Owned {
        T::Type::from_form(form)
    }
}

/// A `Cow` that is encoded as the value that it holds or borrows.
#[expect(missing_debug_implementations, reason = "it stands in one expression")]
pub struct LentCow<'a, T: ?Sized + ToOwned>(Cow<'a, T>);

impl<T: ?Sized + ToOwned + Lend> Serialize for LentCow<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        T::lent(&self.0).serialize(serializer)
    }
}

/// For generated code: borrows the elements of an argument `&[&T]`.
pub fn borrow_all<T: ?Sized, O: Borrow<T>>(owned: &[O]) -> Vec<&T> {
    owned.iter().map(Borrow::borrow).collect()
}
