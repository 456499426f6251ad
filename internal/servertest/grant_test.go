package servertest_test

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/internal/client"
	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest"
	"sekisho/internal/wire/sigv4"
)

// A grant is stored by IAM, and the access queries use it.
func TestGrantsAndReach(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	s.User("alice", "")
	sekisho := func(op string, in map[string]any, out any) {
		t.Helper()
		a := s.JSON(s.Admin, "sekisho", op, in)
		if a.Status != http.StatusOK {
			t.Fatalf("%s: %d %s", op, a.Status, a.Body)
		}
		if out != nil {
			a.Decode(t, out)
		}
	}
	sekisho(
		"PutCalendar",
		map[string]any{"Name": "freeze", "Zone": "Asia/Tokyo", "Entries": []string{"2030-01-01/2030-01-07"}},
		nil,
	)
	var granted struct{ PolicyDocument string }
	sekisho("GrantAccess", map[string]any{
		"UserName": "alice", "PolicyName": "grant", "Targets": []string{n.ID}, "SourceIps": []string{"203.0.113.0/24"},
		"Except": []string{"freeze"},
	}, &granted)
	if !strings.Contains(granted.PolicyDocument, "sekisho:Calendar/freeze") {
		t.Errorf("the policy is %s", granted.PolicyDocument)
	}
	if a := s.JSON(s.Admin, "sekisho", "DeleteCalendar",
		map[string]any{"Name": "freeze"}); a.Code() != "ResourceInUseException" {
		t.Errorf("deleting a calendar in use: %d %s", a.Status, a.Body)
	}

	type answer struct {
		Access []struct {
			PrincipalArn string
			NodeID       string `json:"NodeId"`
			Spans        []struct {
				From, To  float64
				Access    string
				DependsOn []string
			}
		}
		NextToken string
	}
	const before, during = 1893369600.0, 1893456000.0 // 2029-12-31 and 2030-01-01, UTC
	var who answer
	sekisho("ListNodeAccess", map[string]any{"Target": n.ID, "From": before, "To": during}, &who)
	var names []string
	for _, e := range who.Access {
		names = append(names, e.PrincipalArn[strings.LastIndexByte(e.PrincipalArn, '/')+1:])
		if strings.HasSuffix(e.PrincipalArn, "/alice") {
			if len(e.Spans) != 1 || e.Spans[0].Access != "Depends" || e.Spans[0].To != during-9*3600 ||
				!slices.Equal(e.Spans[0].DependsOn, []string{"aws:SourceIp IpAddress 203.0.113.0/24"}) {
				t.Errorf("alice: %+v", e.Spans)
			}
		}
	}
	if !slices.Contains(names, "alice") || !slices.Contains(names, "admin") {
		t.Errorf("%q can reach the node; want alice and admin among them", names)
	}
	// Page size 1.
	var paged []string
	for token := ""; ; {
		var page answer
		sekisho(
			"ListNodeAccess",
			map[string]any{"Target": n.ID, "From": before, "To": during, "MaxResults": 1, "NextToken": token},
			&page,
		)
		for _, e := range page.Access {
			paged = append(paged, e.PrincipalArn[strings.LastIndexByte(e.PrincipalArn, '/')+1:])
		}
		if token = page.NextToken; token == "" {
			break
		}
	}
	if !slices.Equal(paged, names) {
		t.Errorf("in pages: %q, in one page: %q", paged, names)
	}
	for ip, want := range map[string]string{"203.0.113.9": "Always", "198.51.100.9": ""} {
		var what answer
		sekisho(
			"ListPrincipalAccess",
			map[string]any{"UserName": "alice", "SourceIp": ip, "From": before, "To": before + 60},
			&what,
		)
		got := ""
		if len(what.Access) == 1 && what.Access[0].NodeID == n.ID && len(what.Access[0].Spans) == 1 {
			got = what.Access[0].Spans[0].Access
		}
		if got != want {
			t.Errorf("from %s: %+v, want %q", ip, what.Access, want)
		}
	}
	for name, in := range map[string]map[string]any{
		"nobody": {}, "no span": {"UserName": "alice", "From": before, "To": before},
		"a long period": {"UserName": "alice", "From": before, "To": before + 32*86400},
		"address":       {"UserName": "alice", "SourceIp": "here"}, "token": {"UserName": "alice", "NextToken": "?"},
	} {
		if a := s.JSON(s.Admin, "sekisho", "ListPrincipalAccess", in); a.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
}

// A user without any other permission learns which nodes it can reach, and nothing about other nodes
// or about its policies.
func TestMyReach(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n, hidden, factor := s.Node(), s.Node(), s.Node()
	n.Connect()
	arn := func(n *servertest.Node) string {
		return "arn:aws:ssm:" + servertest.Region + ":" + servertest.Account + ":managed-instance/" + n.ID
	}
	statement := func(n *servertest.Node, condition string) string {
		return `{"Effect":"Allow","Action":"ssm:StartSession","Resource":"` + arn(n) + `","Condition":{` + condition + `}}`
	}
	opens := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	statements := statement(n, `"DateGreaterThanEquals":{"aws:CurrentTime":"`+opens.Format(time.RFC3339)+`"}`) + "," +
		statement(hidden, `"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`) + "," +
		statement(factor, `"NumericLessThan":{"aws:MultiFactorAuthAge":"900"}`)
	type span struct {
		From, To  float64
		Access    string
		DependsOn []string
	}
	type entry struct {
		NodeID           string `json:"NodeId"`
		ConnectionStatus string
		Spans            []span
	}
	list := func(keys sigv4.Credentials) map[string]entry {
		t.Helper()
		var out struct{ Access []entry }
		a := s.JSON(keys, "sekisho", "ListMyAccess", fields{})
		if a.Status != http.StatusOK {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		a.Decode(t, &out)
		found := map[string]entry{}
		for _, e := range out.Access {
			found[e.NodeID] = e
		}
		return found
	}
	a := s.JSON(s.Admin, "ssm", "AddTagsToResource", fields{"ResourceType": "ManagedInstance", "ResourceId": n.ID,
		"Tags": []any{fields{"Key": "Hostname", "Value": "web-1"}}})
	if a.Status != http.StatusOK {
		t.Fatal(a.Body)
	}
	policy := func(more string) string { return `{"Version":"2012-10-17","Statement":[` + statements + more + `]}` }
	alice := s.User("alice", policy(""))
	got := list(alice)
	if len(got) != 2 {
		t.Errorf("alice reaches %+v", got)
	}
	if e := got[n.ID]; e.ConnectionStatus != "connected" || len(e.Spans) != 1 || e.Spans[0].Access != "Always" ||
		int64(e.Spans[0].From) != opens.Unix() {
		t.Errorf("the node that opens tomorrow: %+v", e)
	}
	if e := got[factor.ID]; e.ConnectionStatus != "notconnected" || len(e.Spans) != 1 ||
		e.Spans[0].Access != "Depends" || !slices.Equal(e.Spans[0].DependsOn, []string{"MFA"}) {
		t.Errorf("the node that needs a second factor: %+v", e)
	}
	cert, err := x509.ParseCertificate(s.Certificate())
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	resolver := client.New(client.Config{Endpoint: s.URL, Region: servertest.Region, Roots: roots, Credentials: alice})
	defer resolver.Close()
	// A target selects among the nodes in reach only.
	for target, want := range map[string]string{
		n.ID: n.ID, "web-1": n.ID, "tag:Hostname=web-1": n.ID, "web-2": "", hidden.ID: "", factor.ID: factor.ID,
	} {
		var out struct{ Access []entry }
		s.JSON(alice, "sekisho", "ListMyAccess", fields{"Target": target}).Decode(t, &out)
		found := ""
		for _, e := range out.Access {
			found += e.NodeID
		}
		if found != want {
			t.Errorf("%s selects %q, want %q", target, found, want)
		}
		resolved, err := resolver.Resolve(t.Context(), target)
		if want != "" && (err != nil || resolved != want) {
			t.Errorf("the client resolves %s to %q, %v", target, resolved, err)
		}
	}
	bob := s.User("bob", policy(`,{"Effect":"Allow","Action":"iam:SimulatePrincipalPolicy","Resource":"*"}`))
	if e := list(bob)[factor.ID]; len(e.Spans) != 1 ||
		!slices.Equal(e.Spans[0].DependsOn, []string{"aws:MultiFactorAuthAge NumericLessThan 900"}) {
		t.Errorf("for a user who can simulate its policies: %+v", e)
	}
	if got := list(s.User("nobody", "")); len(got) != 0 {
		t.Errorf("a user without policies reaches %+v", got)
	}
	if a := s.JSON(sigv4.Credentials{}, "sekisho", "ListMyAccess", fields{}); a.Status < http.StatusBadRequest {
		t.Errorf("an anonymous caller: %d %s", a.Status, a.Body)
	}
}

// why notes that an action on another user's session is allowed because the
// two names are alike.
func TestWhyNotesSessionsOfLikeNames(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	n := s.Node()
	n.Connect()
	// The policy is added after the user ann-b, who could not be created
	// later.
	other := s.Session(s.User("ann-b", servertest.Allow("*", "ssm:StartSession")), n)
	ann := s.User("ann", servertest.Allow("arn:aws:ssm:*:*:session/${aws:username}-*", "ssm:TerminateSession"))
	_, err := s.Directory.Groups.Create(t.Context(), "/", "starters")
	must(t, err)
	must(
		t,
		s.Directory.Holders.PutInline(
			t.Context(),
			identity.KindGroup,
			"starters",
			"p",
			servertest.Allow("*", "ssm:StartSession"),
		),
	)
	must(t, s.Directory.Groups.AddUser(t.Context(), "ann", "starters"))
	own := s.Session(ann, n)
	for target, want := range map[string]int{other.ID: 1, own.ID: 0} {
		var out struct {
			Allowed bool
			Notes   []string
		}
		a := s.JSON(
			s.Admin,
			"sekisho",
			"ExplainAccess",
			map[string]any{"UserName": "ann", "Action": "ssm:TerminateSession", "Target": target},
		)
		a.Decode(t, &out)
		if !out.Allowed || len(out.Notes) != want {
			t.Errorf("%s: %s", target, a.Body)
		}
	}
}
