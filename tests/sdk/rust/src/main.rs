//! The whole life of a meeting through the unmodified AWS SDK for Rust, against a running Campanile.
//!
//! ```text
//! cargo run --manifest-path tests/sdk/rust/Cargo.toml -- --endpoint URL --access-key ID --secret-key SECRET [--region REGION]
//! ```
//!
//! Prints one line for each check and exits with 1 if any failed. Errors are looked at as this SDK types them: only those
//! that the operation models are typed.

use std::process::ExitCode;

use aws_sdk_chimesdkmeetings::Client;
use aws_sdk_chimesdkmeetings::config::{BehaviorVersion, Builder, Credentials, Region};
use aws_sdk_chimesdkmeetings::error::ProvideErrorMetadata;
use aws_sdk_chimesdkmeetings::operation::RequestId;
use aws_sdk_chimesdkmeetings::types::{
    AttendeeCapabilities, AttendeeFeatures, AttendeeIdItem, CreateAttendeeRequestItem, EngineTranscribeSettings,
    MediaCapabilities, MeetingFeaturesConfiguration, Tag, TranscribeLanguageCode, TranscriptionConfiguration,
};

type Failure = Box<dyn std::error::Error>;

#[derive(Default)]
struct Checks {
    failed: u32,
}

impl Checks {
    fn check(&mut self, what: &str, passed: bool) {
        println!("{} {what}", if passed { "ok  " } else { "FAIL" });
        self.failed += u32::from(!passed);
    }

    /// The call fails with this code, and the SDK knows the error as the operation's own.
    fn error<T, E>(&mut self, what: &str, code: &str, outcome: Result<T, E>, typed: impl FnOnce(&E) -> bool)
    where
        E: ProvideErrorMetadata,
    {
        match outcome {
            Ok(_) => self.check(&format!("{what}: no error at all"), false),
            Err(error) => {
                let found = error.code().unwrap_or("none").to_owned();
                let right = found == code && typed(&error) && error.message().is_some();
                self.check(&format!("{what} ({found})"), right);
            }
        }
    }
}

fn option(name: &str) -> Option<String> {
    let mut words = std::env::args().skip_while(|word| *word != format!("--{name}"));
    words.nth(1)
}

fn capabilities(all: MediaCapabilities) -> Result<AttendeeCapabilities, Failure> {
    Ok(AttendeeCapabilities::builder().audio(all.clone()).video(all.clone()).content(all).build()?)
}

async fn story(client: &Client, checks: &mut Checks) -> Result<(), Failure> {
    let person = |name: &str| CreateAttendeeRequestItem::builder().external_user_id(name).build();
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let features = MeetingFeaturesConfiguration::builder()
        .attendee(AttendeeFeatures::builder().max_count(9).build())
        .build();
    let made = client
        .create_meeting()
        .media_region("eu-central-1")
        .external_meeting_id("réunion « été »")
        .meeting_features(features)
        .tags(tag("team", "red")?)
        .send()
        .await?;
    checks.check("answers carry a request id", made.request_id().is_some());
    let meeting = made.meeting().ok_or("no meeting")?.clone();
    let id = meeting.meeting_id().ok_or("no id")?;
    checks.check("the name is echoed", meeting.external_meeting_id() == Some("réunion « été »"));
    let found = client.get_meeting().meeting_id(id).send().await?;
    checks.check("get_meeting finds it", found.meeting() == Some(&meeting));

    let ann = client.create_attendee().meeting_id(id).external_user_id("ann").send().await?;
    let ann = ann.attendee().ok_or("no attendee")?.clone();
    let ann_id = ann.attendee_id().ok_or("no id")?;
    let found = client.get_attendee().meeting_id(id).attendee_id(ann_id).send().await?;
    checks.check("get_attendee finds her", found.attendee() == Some(&ann));
    let batch = client
        .batch_create_attendee()
        .meeting_id(id)
        .attendees(person("bob")?)
        .attendees(person("aws:cid")?)
        .send()
        .await?;
    checks.check("one of two is made", (batch.attendees().len(), batch.errors().len()) == (1, 1));
    let page = client.list_attendees().meeting_id(id).max_results(1).send().await?;
    let rest = client.list_attendees().meeting_id(id).set_next_token(page.next_token).send().await?;
    checks.check("two pages", rest.attendees().len() == 1 && rest.next_token().is_none());

    let none = capabilities(MediaCapabilities::None)?;
    let updated = client
        .update_attendee_capabilities()
        .meeting_id(id)
        .attendee_id(ann_id)
        .capabilities(none.clone())
        .send()
        .await?;
    checks.check("capabilities are replaced", updated.attendee().and_then(|one| one.capabilities()) == Some(&none));
    client
        .batch_update_attendee_capabilities_except()
        .meeting_id(id)
        .excluded_attendee_ids(AttendeeIdItem::builder().attendee_id(ann_id).build()?)
        .capabilities(none)
        .send()
        .await?;

    let arn = meeting.meeting_arn().ok_or("no ARN")?;
    client.tag_resource().resource_arn(arn).tags(tag("more", "x")?).send().await?;
    client.untag_resource().resource_arn(arn).tag_keys("team").send().await?;
    let tags = client.list_tags_for_resource().resource_arn(arn).send().await?;
    checks.check("tags are as told", tags.tags() == [tag("more", "x")?]);

    let engine = EngineTranscribeSettings::builder().language_code(TranscribeLanguageCode::EnUs).build();
    let configuration = TranscriptionConfiguration::builder().engine_transcribe_settings(engine).build();
    client.start_meeting_transcription().meeting_id(id).transcription_configuration(configuration).send().await?;
    client.stop_meeting_transcription().meeting_id(id).send().await?;
    let both = client
        .create_meeting_with_attendees()
        .media_region("us-east-1")
        .external_meeting_id("both")
        .attendees(person("dan")?)
        .send()
        .await?;
    checks.check("a meeting with its attendee", both.attendees().len() == 1);

    let again = client.stop_meeting_transcription().meeting_id(id).send().await;
    checks.error("stop without start", "UnprocessableEntityException", again, |error| {
        error.as_service_error().is_some_and(|error| error.is_unprocessable_entity_exception())
    });
    let nowhere = client.create_meeting().media_region("nowhere-1").external_meeting_id("xx").send().await;
    checks.error("an unknown region", "BadRequestException", nowhere, |error| {
        error.as_service_error().is_some_and(|error| error.is_bad_request_exception())
    });
    let nothing = client.list_tags_for_resource().resource_arn(format!("{arn}x")).send().await;
    checks.error("tags of nothing", "ResourceNotFoundException", nothing, |error| {
        error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception())
    });
    client.delete_attendee().meeting_id(id).attendee_id(ann_id).send().await?;
    let gone = client.get_attendee().meeting_id(id).attendee_id(ann_id).send().await;
    checks.error("a deleted attendee", "NotFoundException", gone, |error| {
        error.as_service_error().is_some_and(|error| error.is_not_found_exception())
    });
    client.delete_meeting().meeting_id(id).send().await?;
    let other = both.meeting().and_then(|meeting| meeting.meeting_id()).ok_or("no id")?;
    client.delete_meeting().meeting_id(other).send().await?;
    let gone = client.get_meeting().meeting_id(id).send().await;
    checks.error("a deleted meeting", "NotFoundException", gone, |error| {
        error.as_service_error().is_some_and(|error| error.is_not_found_exception())
    });
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (Some(endpoint), Some(key), Some(secret)) = (option("endpoint"), option("access-key"), option("secret-key"))
    else {
        eprintln!("--endpoint, --access-key and --secret-key are required");
        return ExitCode::from(2);
    };
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(option("region").unwrap_or("us-east-1".into())))
        .credentials_provider(Credentials::new(key, secret, None, None, "story"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let mut checks = Checks::default();
    if let Err(failure) = story(&Client::from_conf(config), &mut checks).await {
        println!("FAIL the story broke off: {failure:?}");
        checks.failed += 1;
    }
    println!("{}", if checks.failed == 0 { "all passed".into() } else { format!("{} failed", checks.failed) });
    ExitCode::from(u8::from(checks.failed > 0))
}
