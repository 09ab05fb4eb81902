use super::*;

/// A complete CreateMeeting with `member` added or replaced.
fn create(member: &str) -> Result<NewMeeting, Invalid> {
    let mut body: serde_json::Value = serde_json::from_str(
        r#"{"ClientRequestToken":"tok-1","MediaRegion":"us-east-1","ExternalMeetingId":"my meeting"}"#,
    )
    .unwrap();
    let extra: serde_json::Value = serde_json::from_str(&format!("{{{member}}}")).unwrap();
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    serde_json::from_value::<CreateMeetingRequest>(body).map_err(|e| Invalid(e.to_string()))?.check()
}

fn check(member: &str, accepted: bool) {
    let outcome = create(member);
    assert_eq!(outcome.is_ok(), accepted, "{member}: {outcome:?}");
}

#[test]
fn create_meeting_members_hold_their_bounds() {
    check("", true);
    check(r#""ClientRequestToken":null"#, false);
    check(r#""ClientRequestToken":"a""#, false);
    check(r#""ClientRequestToken":"ab""#, true);
    check(&format!(r#""ClientRequestToken":"{}""#, "a".repeat(64)), true);
    check(&format!(r#""ClientRequestToken":"{}""#, "a".repeat(65)), false);
    check(r#""ClientRequestToken":"bad token!""#, false);
    check(r#""MediaRegion":"nowhere-1""#, false);
    check(r#""MediaRegion":"us-gov-west-1""#, true);
    check(r#""ExternalMeetingId":"x""#, false);
    check(r#""ExternalMeetingId":"aws:x""#, false);
    check(r#""ExternalMeetingId":"AwS:x""#, false);
    check(r#""ExternalMeetingId":"laws:x""#, true);
    check(r#""ExternalMeetingId":"a<b""#, false);
    check(r##""ExternalMeetingId":"\u00e9\u00e8 «ü» [a]{b}(c)/'\"#|:.,=+@&_-""##, true);
    check(&format!(r#""ExternalMeetingId":"{}""#, "é".repeat(64)), true);
    check(&format!(r#""ExternalMeetingId":"{}""#, "é".repeat(65)), false);
    check(r#""MeetingHostId":null"#, true);
    check(r#""MeetingHostId":"h""#, false);
    check(r#""Unknown":{"a":[1]}"#, true);
    check(r#""MediaPlacementNetworkType":"DualStack""#, true);
    check(r#""MediaPlacementNetworkType":"Ipv6""#, false);
    check(r#""NotificationsConfiguration":{"SqsQueueArn":"arn:aws:sqs:us-east-1:1:q"}"#, true);
    check(r#""NotificationsConfiguration":{"SqsQueueArn":"queue"}"#, false);
}

#[test]
fn tenants_and_tags_hold_their_patterns() {
    check(r#""TenantIds":[]"#, false);
    check(r#""TenantIds":["ab","c$d"]"#, true);
    check(r#""TenantIds":["aaa"]"#, true);
    check(r#""TenantIds":["xaaaa"]"#, false);
    check(r#""TenantIds":["a b"]"#, false);
    check(r#""TenantIds":["ab","ab","ab","ab","ab","ab"]"#, false);
    check(r#""Tags":[{"Key":"k","Value":""}]"#, true);
    check(r#""Tags":[{"Key":"","Value":""}]"#, false);
    check(r#""Tags":[{"Key":"a,;<9","Value":"x y@z"}]"#, true);
    check(r#""Tags":[{"Key":"a>b","Value":""}]"#, false);
    check(r#""Tags":[{"Key":"k","Value":"1"},{"Key":"k","Value":"2"}]"#, false);
}

#[test]
fn high_definition_needs_a_low_ceiling() {
    check(r#""MeetingFeatures":{"Video":{"MaxResolution":"HD"}}"#, true);
    check(r#""MeetingFeatures":{"Video":{"MaxResolution":"FHD"}}"#, false);
    check(r#""MeetingFeatures":{"Video":{"MaxResolution":"FHD"},"Attendee":{"MaxCount":25}}"#, true);
    check(r#""MeetingFeatures":{"Video":{"MaxResolution":"FHD"},"Attendee":{"MaxCount":26}}"#, false);
    check(r#""MeetingFeatures":{"Content":{"MaxResolution":"UHD"},"Attendee":{"MaxCount":26}}"#, false);
    check(r#""MeetingFeatures":{"Content":{"MaxResolution":"FHD"},"Attendee":{"MaxCount":250}}"#, true);
    check(r#""MeetingFeatures":{"Attendee":{"MaxCount":0}}"#, false);
    check(r#""MeetingFeatures":{"Attendee":{"MaxCount":251}}"#, false);
    check(r#""MeetingFeatures":{"Video":{"MaxResolution":"4K"}}"#, false);
}

#[test]
fn features_never_show_a_null() {
    let features =
        create(r#""MeetingFeatures":{"Video":null,"Content":{"MaxResolution":null},"Attendee":{}}"#)
            .unwrap()
            .features;
    assert_eq!(serde_json::to_string(&features).unwrap(), "{}");
    assert_eq!(
        serde_json::to_string(&features.shown()).unwrap(),
        r#"{"Audio":{"EchoReduction":"UNAVAILABLE"}}"#
    );
}

#[test]
fn capabilities_come_whole_and_content_needs_video() {
    let check = |capabilities: &str, accepted: bool| {
        let body = format!(r#"{{"ExternalUserId":"ann","Capabilities":{capabilities}}}"#);
        let outcome = serde_json::from_str::<AttendeeItem>(&body).unwrap().check();
        assert_eq!(outcome.is_ok(), accepted, "{capabilities}: {outcome:?}");
    };
    check("null", true);
    check("{}", false);
    check(r#"{"Audio":"Send","Video":"Send"}"#, false);
    check(r#"{"Audio":"None","Video":"Receive","Content":"Send"}"#, true);
    check(r#"{"Audio":"None","Video":"SendReceive","Content":"None"}"#, true);
    check(r#"{"Audio":"None","Video":"Send","Content":"Receive"}"#, false);
    check(r#"{"Audio":"None","Video":"None","Content":"SendReceive"}"#, false);
    check(r#"{"Audio":"None","Video":"None","Content":"Send"}"#, true);
}

#[test]
fn a_batch_fails_whole_on_its_shape_and_alone_on_a_rule() {
    let batch = |items: &str| {
        serde_json::from_str::<BatchCreateAttendeeRequest>(&format!(r#"{{"Attendees":{items}}}"#))
            .unwrap()
            .check()
    };
    assert!(batch("[]").is_err());
    assert!(batch("null").is_err());
    assert!(batch(r#"[{"ExternalUserId":"u"}]"#).is_err());
    let items = batch(r#"[{"ExternalUserId":"aws:u"},{"ExternalUserId":"u1"}]"#).unwrap();
    assert!(items[0].attendee.is_err() && items[1].attendee.is_ok());
    let many = |n: usize| format!("[{}]", vec![r#"{"ExternalUserId":"u1"}"#; n].join(","));
    assert!(batch(&many(100)).is_ok());
    assert!(batch(&many(101)).is_err());
}

#[test]
fn capabilities_are_replaced_whole_and_somebody_is_always_excluded() {
    let check = |body: &str, one: bool, except: bool| {
        let request: UpdateCapabilitiesRequest = serde_json::from_str(body).unwrap();
        assert_eq!(
            (request.clone().check().is_ok(), request.check_except().is_ok()),
            (one, except),
            "{body}"
        );
    };
    let all = r#""Capabilities":{"Audio":"None","Video":"Receive","Content":"Receive"}"#;
    check("{}", false, false);
    check(&format!("{{{all}}}"), true, false);
    check(&format!(r#"{{{all},"ExcludedAttendeeIds":[]}}"#), true, false);
    check(&format!(r#"{{{all},"ExcludedAttendeeIds":[{{}}]}}"#), true, false);
    check(&format!(r#"{{{all},"ExcludedAttendeeIds":[{{"AttendeeId":"a"}}]}}"#), true, true);
    let ids = |n: usize| vec![r#"{"AttendeeId":"a"}"#; n].join(",");
    check(&format!(r#"{{{all},"ExcludedAttendeeIds":[{}]}}"#, ids(250)), true, true);
    check(&format!(r#"{{{all},"ExcludedAttendeeIds":[{}]}}"#, ids(251)), true, false);
    check(r#"{"Capabilities":{"Audio":"None","Video":"None","Content":"Receive"}}"#, false, false);
    check(r#"{"Capabilities":{"Audio":"None","Video":"Receive"}}"#, false, false);
}

#[test]
fn tag_requests_hold_their_bounds() {
    let check = |body: &str, tag: bool, untag: bool| {
        let request: TagsRequest = serde_json::from_str(body).unwrap();
        assert_eq!(
            (request.clone().check_tag().is_ok(), request.check_untag().is_ok()),
            (tag, untag),
            "{body}"
        );
    };
    let arn = r#""ResourceARN":"arn:x""#;
    check("{}", false, false);
    check(&format!("{{{arn}}}"), false, false);
    check(&format!(r#"{{{arn},"Tags":[],"TagKeys":[]}}"#), true, true);
    check(r#"{"ResourceARN":"x","Tags":[],"TagKeys":[]}"#, false, false);
    check(&format!(r#"{{"ResourceARN":"arn:{}","Tags":[],"TagKeys":[]}}"#, "a".repeat(1007)), true, true);
    check(&format!(r#"{{"ResourceARN":"arn:{}","Tags":[],"TagKeys":[]}}"#, "a".repeat(1008)), false, false);
    check(&format!(r#"{{{arn},"TagKeys":["a b"]}}"#), false, false);
    check(&format!(r#"{{{arn},"TagKeys":["a/b","a/b"]}}"#), false, true);
    let many =
        |n: usize| (0..n).map(|n| format!(r#"{{"Key":"k{n}","Value":"v"}}"#)).collect::<Vec<_>>().join(",");
    check(&format!(r#"{{{arn},"Tags":[{}]}}"#, many(50)), true, false);
    check(&format!(r#"{{{arn},"Tags":[{}]}}"#, many(51)), false, false);
}

#[test]
fn transcription_has_one_engine_whose_settings_agree() {
    let check = |configuration: &str, accepted: bool| {
        let body = format!(r#"{{"TranscriptionConfiguration":{configuration}}}"#);
        let outcome = serde_json::from_str::<StartTranscriptionRequest>(&body).unwrap().check();
        assert_eq!(outcome.is_ok(), accepted, "{configuration}: {outcome:?}");
    };
    check("null", false);
    check("{}", false);
    let everyday = |members: &str, accepted: bool| {
        check(&format!(r#"{{"EngineTranscribeSettings":{{{members}}}}}"#), accepted);
    };
    everyday("", false);
    everyday(r#""LanguageCode":"en-US""#, true);
    everyday(r#""LanguageCode":"tlh""#, false);
    everyday(r#""IdentifyLanguage":true"#, true);
    everyday(r#""IdentifyLanguage":false"#, false);
    everyday(r#""LanguageCode":"en-US","IdentifyLanguage":true"#, false);
    everyday(r#""LanguageCode":"en-US","IdentifyLanguage":false"#, true);
    everyday(r#""LanguageCode":"en-US","LanguageOptions":"en-US,de-DE""#, false);
    everyday(r#""IdentifyLanguage":true,"LanguageOptions":"en-US,de-DE","PreferredLanguage":"de-DE""#, true);
    everyday(r#""IdentifyLanguage":true,"PreferredLanguage":"de-DE""#, false);
    everyday(r#""LanguageCode":"en-US","ContentRedactionType":"PII","PiiEntityTypes":"NAME, SSN""#, true);
    everyday(r#""LanguageCode":"en-US","PiiEntityTypes":"NAME""#, false);
    everyday(
        r#""LanguageCode":"en-US","ContentRedactionType":"PII","ContentIdentificationType":"PII""#,
        false,
    );
    everyday(r#""IdentifyLanguage":true,"ContentRedactionType":"PII""#, false);
    everyday(r#""IdentifyLanguage":true,"VocabularyNames":"a,b""#, true);
    everyday(r#""IdentifyLanguage":true,"VocabularyName":"a""#, false);
    everyday(r#""LanguageCode":"en-US","VocabularyNames":"a,b""#, false);
    everyday(r#""LanguageCode":"en-US","VocabularyName":"a","Region":"auto""#, true);
    everyday(r#""LanguageCode":"en-US","LanguageModelName":"a b""#, false);
    let medical = r#""EngineTranscribeMedicalSettings":{"LanguageCode":"en-US","Specialty":"UROLOGY","Type":"DICTATION"}"#;
    check(&format!("{{{medical}}}"), true);
    check(&format!(r#"{{{medical},"EngineTranscribeSettings":{{"LanguageCode":"en-US"}}}}"#), false);
    check(r#"{"EngineTranscribeMedicalSettings":{"LanguageCode":"en-US","Specialty":"UROLOGY"}}"#, false);
}

#[test]
fn a_join_token_does_not_show_itself() {
    assert_eq!(format!("{:?}", JoinToken::new("secret".into())), "<redacted>");
}
