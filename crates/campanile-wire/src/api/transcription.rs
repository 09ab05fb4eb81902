//! StartMeetingTranscription: two engines, and the many rules of their settings.

use serde::{Deserialize, Serialize};

use super::check::{Invalid, invalid, one_of, required, text};

/// The body of StartMeetingTranscription.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StartTranscriptionRequest {
    transcription_configuration: Option<TranscriptionConfiguration>,
}

/// How a meeting is to be transcribed: by one of two engines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TranscriptionConfiguration {
    /// Everyday speech.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_transcribe_settings: Option<TranscribeSettings>,
    /// Clinical speech.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_transcribe_medical_settings: Option<TranscribeMedicalSettings>,
}

/// Settings of the everyday engine. Members that take one of a list of values are texts here: which engines know which
/// languages is theirs to say, and [`StartTranscriptionRequest::check`] holds them to the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(
    missing_docs,
    reason = "the members of EngineTranscribeSettings, named and explained by the API's reference"
)]
pub struct TranscribeSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary_filter_method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary_filter_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_partial_results_stabilization: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_results_stability: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_identification_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_redaction_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pii_entity_types: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_model_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identify_language: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_options: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary_names: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary_filter_names: Option<String>,
}

/// Settings of the clinical engine; see [`TranscribeSettings`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[expect(
    missing_docs,
    reason = "the members of EngineTranscribeMedicalSettings, explained by the API's reference"
)]
pub struct TranscribeMedicalSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub specialty: Option<String>,
    #[serde(rename = "Type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_identification_type: Option<String>,
}

impl StartTranscriptionRequest {
    /// Exactly one engine, each member within the model, and the documented rules between them.
    pub fn check(self) -> Result<TranscriptionConfiguration, Invalid> {
        let configuration = required("TranscriptionConfiguration", self.transcription_configuration)?;
        match (&configuration.engine_transcribe_settings, &configuration.engine_transcribe_medical_settings) {
            (Some(settings), None) => settings.check()?,
            (None, Some(settings)) => settings.check()?,
            _ => {
                return invalid(
                    "TranscriptionConfiguration must have one of EngineTranscribeSettings and \
                     EngineTranscribeMedicalSettings",
                );
            }
        }
        Ok(configuration)
    }
}

const TRANSCRIBE_LANGUAGES: [&str; 14] = [
    "en-US", "en-GB", "es-US", "fr-CA", "fr-FR", "en-AU", "it-IT", "de-DE", "pt-BR", "ja-JP", "ko-KR",
    "zh-CN", "th-TH", "hi-IN",
];

const TRANSCRIBE_REGIONS: [&str; 13] = [
    "us-east-2",
    "us-east-1",
    "us-west-2",
    "ap-northeast-2",
    "ap-southeast-2",
    "ap-northeast-1",
    "ca-central-1",
    "eu-central-1",
    "eu-west-1",
    "eu-west-2",
    "sa-east-1",
    "auto",
    "us-gov-west-1",
];

const MEDICAL_REGIONS: [&str; 7] =
    ["us-east-1", "us-east-2", "us-west-2", "ap-southeast-2", "ca-central-1", "eu-west-1", "auto"];
const MEDICAL_SPECIALTIES: [&str; 6] =
    ["PRIMARYCARE", "CARDIOLOGY", "NEUROLOGY", "ONCOLOGY", "RADIOLOGY", "UROLOGY"];

impl TranscribeSettings {
    fn check(&self) -> Result<(), Invalid> {
        one_of("LanguageCode", &self.language_code, &TRANSCRIBE_LANGUAGES)?;
        one_of("PreferredLanguage", &self.preferred_language, &TRANSCRIBE_LANGUAGES)?;
        one_of("VocabularyFilterMethod", &self.vocabulary_filter_method, &["remove", "mask", "tag"])?;
        one_of("Region", &self.region, &TRANSCRIBE_REGIONS)?;
        one_of("PartialResultsStability", &self.partial_results_stability, &["low", "medium", "high"])?;
        one_of("ContentIdentificationType", &self.content_identification_type, &["PII"])?;
        one_of("ContentRedactionType", &self.content_redaction_type, &["PII"])?;
        let alphanumeric = |c: char| c.is_ascii_alphanumeric();
        // As the models of tags do, those of vocabularies hold a range: `,-.` is comma, minus and full stop.
        let in_names = |c: char| alphanumeric(c) || ",-._".contains(c);
        text("VocabularyFilterName", &self.vocabulary_filter_name, 0..=4096, |_| true)?;
        text("VocabularyName", &self.vocabulary_name, 0..=4096, |_| true)?;
        text("PiiEntityTypes", &self.pii_entity_types, 1..=300, |c| {
            c.is_ascii_uppercase() || "_, ".contains(c)
        })?;
        text("LanguageModelName", &self.language_model_name, 1..=200, |c| {
            alphanumeric(c) || "._-".contains(c)
        })?;
        text("LanguageOptions", &self.language_options, 1..=200, |c| {
            c.is_ascii_alphabetic() || "-,".contains(c)
        })?;
        text("VocabularyNames", &self.vocabulary_names, 1..=3000, in_names)?;
        text("VocabularyFilterNames", &self.vocabulary_filter_names, 1..=3000, in_names)?;

        let identifies = self.identify_language == Some(true);
        let rule = |holds: bool, why: &str| {
            if holds { Ok(()) } else { invalid(format!("EngineTranscribeSettings: {why}")) }
        };
        let redacts = self.content_redaction_type.is_some();
        let content = redacts || self.content_identification_type.is_some();
        rule(
            self.language_code.is_some() != identifies,
            "either LanguageCode or IdentifyLanguage must be given, and not both",
        )?;
        rule(identifies || self.language_options.is_none(), "LanguageOptions needs IdentifyLanguage")?;
        rule(
            self.language_options.is_some() || self.preferred_language.is_none(),
            "PreferredLanguage needs LanguageOptions",
        )?;
        rule(
            !(redacts && self.content_identification_type.is_some()),
            "ContentIdentificationType and ContentRedactionType exclude each other",
        )?;
        rule(
            content || self.pii_entity_types.is_none(),
            "PiiEntityTypes needs ContentIdentificationType or ContentRedactionType",
        )?;
        rule(
            !identifies || (self.language_model_name.is_none() && !content),
            "IdentifyLanguage goes with no LanguageModelName and no content identification or redaction",
        )?;
        rule(
            identifies || (self.vocabulary_names.is_none() && self.vocabulary_filter_names.is_none()),
            "VocabularyNames and VocabularyFilterNames need IdentifyLanguage; without it there is VocabularyName",
        )?;
        rule(
            !identifies || (self.vocabulary_name.is_none() && self.vocabulary_filter_name.is_none()),
            "with IdentifyLanguage, vocabularies are named by VocabularyNames and VocabularyFilterNames",
        )
    }
}

impl TranscribeMedicalSettings {
    fn check(&self) -> Result<(), Invalid> {
        for (name, member) in
            [("LanguageCode", &self.language_code), ("Specialty", &self.specialty), ("Type", &self.kind)]
        {
            if member.is_none() {
                return invalid(format!("EngineTranscribeMedicalSettings.{name} is required"));
            }
        }
        one_of("LanguageCode", &self.language_code, &["en-US"])?;
        one_of("Specialty", &self.specialty, &MEDICAL_SPECIALTIES)?;
        one_of("Type", &self.kind, &["CONVERSATION", "DICTATION"])?;
        one_of("Region", &self.region, &MEDICAL_REGIONS)?;
        one_of("ContentIdentificationType", &self.content_identification_type, &["PHI"])?;
        text("VocabularyName", &self.vocabulary_name, 0..=4096, |_| true)
    }
}
