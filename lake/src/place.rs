//! Where a lake is, and how its store is reached.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use crate::LakeError;

/// Where a lake is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A prefix in an object store.
    Url(Url),
}

/// How an object store is reached, beyond what the environment says. Its values are never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// By `object_store`'s names, as in `aws_endpoint`.
    pub values: BTreeMap<String, String>,
}

/// Stores that are known.
const SCHEMES: [&str; 3] = ["s3", "az", "gs"];

// === impl Place ===

impl Place {
    /// The folder, where it is one.
    #[must_use]
    pub fn folder(&self) -> Option<&std::path::Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Url(_) => None,
        }
    }
}

impl FromStr for Place {
    type Err = LakeError;

    fn from_str(text: &str) -> Result<Self, LakeError> {
        let wrong = |why: String| LakeError::Address { found: text.to_owned(), why };
        if text.is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        if !text.contains("://") {
            return Ok(Self::Folder(text.into()));
        }
        let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
        if url.scheme() == "file" {
            let why = || wrong("it is no path of this machine".to_owned());
            return url.to_file_path().map(Self::Folder).map_err(|()| why());
        }
        if !SCHEMES.contains(&url.scheme()) {
            return Err(wrong(format!("`{}` is not a store that is known", url.scheme())));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("it names no bucket or container".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(LakeError::Address {
                found: format!("{}://…", url.scheme()),
                why: "credentials do not belong into an address; the environment has them".into(),
            });
        }
        Ok(Self::Url(url))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

// === impl StoreOptions ===

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// Makes the store of an address: from the environment's standard variables, then the options.
#[cfg(feature = "clouds")]
pub(crate) fn store(
    url: &Url,
    options: &StoreOptions,
) -> Result<Box<dyn object_store::ObjectStore>, LakeError> {
    use object_store::aws::AmazonS3Builder;
    use object_store::azure::MicrosoftAzureBuilder;
    use object_store::gcp::GoogleCloudStorageBuilder;

    macro_rules! store {
        ($builder:ty) => {{
            let mut builder = <$builder>::from_env().with_url(url.as_str()).with_retry(retries());
            for (option, value) in &options.values {
                let Ok(key) = option.to_ascii_lowercase().parse() else {
                    let (found, option) = (url.to_string(), option.clone());
                    return Err(LakeError::Option { found, option });
                };
                builder = builder.with_config(key, value);
            }
            let built = builder.build();
            Box::new(
                built.map_err(|source| LakeError::Settings { found: url.to_string(), source })?,
            )
        }};
    }
    Ok(match url.scheme() {
        "az" => store!(MicrosoftAzureBuilder),
        "gs" => store!(GoogleCloudStorageBuilder),
        _ => store!(AmazonS3Builder),
    })
}

/// Few and short: whoever writes or reads tries again by itself, and says so.
#[cfg(feature = "clouds")]
fn retries() -> object_store::RetryConfig {
    object_store::RetryConfig {
        max_retries: 2,
        retry_timeout: std::time::Duration::from_secs(30),
        ..object_store::RetryConfig::default()
    }
}

#[cfg(not(feature = "clouds"))]
pub(crate) fn store(
    url: &Url,
    _options: &StoreOptions,
) -> Result<Box<dyn object_store::ObjectStore>, LakeError> {
    Err(LakeError::NoClouds { found: url.to_string() })
}
