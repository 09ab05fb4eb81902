"""The whole life of a meeting through the unmodified AWS command line, against a running Campanile.

    python aws_cli_story.py --endpoint URL --access-key ID --secret-key SECRET [--region REGION]

Needs `aws` (version 1 or 2) on the path, or named by the environment variable AWS_CLI. Prints one line for each check and
exits with 1 if any failed.
"""

import argparse
import json
import os
import subprocess
import sys

failures = 0


def check(what, passed, detail=""):
    global failures
    print(f"{'ok  ' if passed else 'FAIL'} {what}{'' if passed else f': {detail}'}", flush=True)
    failures += not passed


def story(arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "AWS_ACCESS_KEY_ID": arguments.access_key,
        "AWS_SECRET_ACCESS_KEY": arguments.secret_key,
        "AWS_DEFAULT_REGION": arguments.region,
        "AWS_ENDPOINT_URL_CHIME_SDK_MEETINGS": arguments.endpoint,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_PAGER": "",
    }

    def run(operation, *words):
        command = [os.environ.get("AWS_CLI", "aws"), "chime-sdk-meetings", operation, "--output", "json", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    def aws(operation, *words):
        done = run(operation, *words)
        check(f"{operation} succeeds", done.returncode == 0, done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def refused(kind, operation, *words):
        done = run(operation, *words)
        check(f"{operation} says {kind}", done.returncode != 0 and f"({kind})" in done.stderr, done.stderr or done.stdout)

    meeting = aws("create-meeting", "--media-region", "eu-central-1", "--external-meeting-id", "réunion « été »",
                  "--client-request-token", "cli-1", "--tags", "Key=team,Value=red")["Meeting"]
    here = ["--meeting-id", meeting["MeetingId"]]
    check("the name survives the command line", meeting["ExternalMeetingId"] == "réunion « été »", meeting)
    check("get-meeting finds it", aws("get-meeting", *here)["Meeting"] == meeting)
    all_three = "Audio=SendReceive,Video=Receive,Content=None"
    attendee = aws("create-attendee", *here, "--external-user-id", "ann", "--capabilities", all_three)["Attendee"]
    her = [*here, "--attendee-id", attendee["AttendeeId"]]
    check("get-attendee finds her", aws("get-attendee", *her)["Attendee"] == attendee)
    batch = aws("batch-create-attendee", *here, "--attendees", "ExternalUserId=bob", "ExternalUserId=aws:cid")
    check("one of two is made", (len(batch["Attendees"]), len(batch["Errors"])) == (1, 1), batch)
    page = aws("list-attendees", *here, "--max-results", "1")
    rest = aws("list-attendees", *here, "--max-results", "1", "--next-token", page["NextToken"])
    check("two pages of one", len(page["Attendees"] + rest["Attendees"]) == 2 and "NextToken" not in rest, (page, rest))
    update = ["--capabilities", "Audio=None,Video=None,Content=None"]
    updated = aws("update-attendee-capabilities", *her, *update)["Attendee"]
    check("capabilities are replaced", set(updated["Capabilities"].values()) == {"None"}, updated)
    excluded = ["--excluded-attendee-ids", f"AttendeeId={attendee['AttendeeId']}"]
    aws("batch-update-attendee-capabilities-except", *here, *excluded, *update)
    resource = ["--resource-arn", meeting["MeetingArn"]]
    aws("tag-resource", *resource, "--tags", "Key=more,Value=x")
    aws("untag-resource", *resource, "--tag-keys", "team")
    tags = aws("list-tags-for-resource", *resource)["Tags"]
    check("tags are as told", tags == [{"Key": "more", "Value": "x"}], tags)
    engine = json.dumps({"EngineTranscribeSettings": {"LanguageCode": "en-US"}})
    aws("start-meeting-transcription", *here, "--transcription-configuration", engine)
    aws("stop-meeting-transcription", *here)
    refused("UnprocessableEntityException", "stop-meeting-transcription", *here)
    both = aws("create-meeting-with-attendees", "--media-region", "us-east-1", "--external-meeting-id", "both",
               "--attendees", "ExternalUserId=dan")
    check("a meeting with its attendee", both["Attendees"][0]["ExternalUserId"] == "dan", both)
    refused("BadRequestException", "create-meeting", "--media-region", "nowhere-1", "--external-meeting-id", "xx")
    aws("delete-attendee", *her)
    refused("NotFoundException", "get-attendee", *her)
    aws("delete-meeting", *here)
    aws("delete-meeting", "--meeting-id", both["Meeting"]["MeetingId"])
    refused("NotFoundException", "get-meeting", *here)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--access-key", required=True)
    parser.add_argument("--secret-key", required=True)
    parser.add_argument("--region", default="us-east-1")
    story(parser.parse_args())
    print(f"{failures} failed" if failures else "all passed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
