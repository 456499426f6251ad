package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"sekisho/e2e/harness"
)

// TestSessionLogInLogGroup reads the output of a session with the aws CLI,
// from the log groups that its document names: record by record while it runs,
// and complete once it has ended. Without permission there is no log, and the
// history says why.
func TestSessionLogInLogGroup(t *testing.T) {
	t.Parallel()
	runScript(t, nil, `
aws logs create-log-group --log-group-name /e2e/streamed
aws logs create-log-group --log-group-name /e2e/whole
aws logs create-log-group --log-group-name /e2e/denied
aws iam put-role-policy --role-name AmazonEC2RunCommandRoleForManagedInstances --policy-name e2e-session-logs --policy-document '{"Version":"2012-10-17","Statement":[
  {"Effect":"Allow","Action":["logs:DescribeLogGroups","logs:DescribeLogStreams","logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"},
  {"Effect":"Deny","Action":"logs:PutLogEvents","Resource":"arn:aws:logs:*:*:log-group:/e2e/denied:*"}]}'
for group in streamed whole denied; do
  aws ssm create-document --name "E2E-Logs-$group" --document-type Session --content '{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{
    "cloudWatchLogGroupName":"/e2e/'$group'","cloudWatchEncryptionEnabled":false,"cloudWatchStreamingEnabled":'$([ $group = streamed ] && echo true || echo false)'}}' >/dev/null
done`)
	start := func(group string) (*harness.Terminal, string) {
		t.Helper()
		term := harness.OpenTerminal(t, 24, 100, shared.Shell(t.Context(), nil,
			`aws ssm start-session --target "$SEKISHO_TARGET" --document-name "$1"`, "E2E-Logs-"+group))
		id := term.Expect(awhile, `Starting session with SessionId: (\S+)`)[1]
		term.Expect(soon, harness.Prompt)
		term.Send("echo word''in''log\r")
		term.Expect(soon, `(?m)^wordinlog$`)
		return term, id
	}
	end := func(term *harness.Terminal) {
		t.Helper()
		term.Send("exit\r")
		term.Expect(soon, `Exiting session`)
	}
	// events waits until the messages of a session's stream contain text.
	events := func(group, id, text string) string {
		t.Helper()
		var got string
		harness.Eventually(t, awhile, func() error {
			r := harness.Do(
				t,
				shared.Shell(
					t.Context(),
					nil,
					`aws logs get-log-events --log-group-name "/e2e/$1" --log-stream-name "$2" --start-from-head --query `+
						`'events[].message' --output text`,
					group,
					id,
				),
			)
			if got = r.Stdout; r.Code != 0 || !strings.Contains(got, text) {
				return fmt.Errorf("the stream %s of %s has %q; %s", id, group, got, r.Stderr)
			}
			return nil
		})
		return got
	}

	term, id := start("streamed")
	// While it runs.
	if got := events("streamed", id, `"wordinlog"`); !strings.Contains(got, `"sessionId":"`+id+`"`) ||
		!strings.Contains(got, `"sessionData":[`) {
		t.Errorf("a record is %s", got)
	}
	end(term)

	term, id = start("whole")
	end(term)
	if got := events("whole", id, "wordinlog"); !strings.Contains(got, "Script started on") ||
		!strings.Contains(got, "word''in''log") {
		t.Errorf("the log is %q", got)
	}

	term, id = start("denied")
	end(term)
	harness.Eventually(t, awhile, func() error {
		r := harness.Do(
			t,
			shared.Shell(
				t.Context(),
				nil,
				`aws ssm describe-sessions --state History --filters key=SessionId,value="$1" --query 'Sessions[0].Details' `+
					`--output text`,
				id,
			),
		)
		if !strings.Contains(r.Stdout, "not delivered") || !strings.Contains(r.Stdout, "logs:PutLogEvents") {
			return fmt.Errorf("the history says %q; %s", r.Stdout, r.Stderr)
		}
		return nil
	})
}
