//! What an error code means: worth another try, a matter of settings, or of the message.
//!
//! After librdkafka's and Kafka's lists of error codes. A code that is in neither list below may pass.

use rdkafka::error::RDKafkaErrorCode as Code;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It may succeed later.
    Passing,
    /// Whatever is sent fails like this until somebody changes something.
    Denied,
    /// The messages that went together are refused for what they are, or one of them is: too large, a
    /// time that the topic does not take, a rule of the brokers' owner.
    Refused,
    /// The producer cannot be used any more.
    Fatal,
}

pub(super) fn meaning(code: Code) -> Meaning {
    match code {
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidDifferentRecord
        | Code::InvalidTimestamp
        | Code::PolicyViolation => Meaning::Refused,
        Code::Fatal => Meaning::Fatal,
        code if is_about_us(code) => Meaning::Denied,
        _ => Meaning::Passing,
    }
}

/// Credentials, certificates, a topic that is not there or not ours.
pub(super) fn is_about_us(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL
            | Code::SecurityDisabled
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::UnsupportedCompressionType
            | Code::UnsupportedFeature
            | Code::UnsupportedVersion
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_whether_it_may_pass_is_about_us_or_about_the_message() {
        assert_eq!(meaning(Code::BrokerTransportFailure), Meaning::Passing);
        assert_eq!(meaning(Code::MessageTimedOut), Meaning::Passing);
        assert_eq!(meaning(Code::NotEnoughReplicas), Meaning::Passing);
        assert_eq!(meaning(Code::TopicAuthorizationFailed), Meaning::Denied);
        assert_eq!(meaning(Code::MessageSizeTooLarge), Meaning::Refused);
        assert_eq!(meaning(Code::InvalidTimestamp), Meaning::Refused);
        assert_eq!(meaning(Code::Fatal), Meaning::Fatal);
    }
}
