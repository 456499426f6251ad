package servertest_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsssm "github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/google/go-cmp/cmp"

	"sekisho/internal/iam/identity"
	"sekisho/internal/servertest"
	"sekisho/internal/wire/mgs"
)

const preferencesName = "SSM-SessionManagerRunShell"

// shellText is a shell document with these inputs.
func shellText(inputs string) *string {
	return aws.String(
		`{"schemaVersion":"1.0","description":"For tests","sessionType":"Standard_Stream","inputs":{` + inputs + `}}`,
	)
}

const tailText = `{"schemaVersion":"1.0","sessionType":"InteractiveCommands",
	"parameters":{"lines":{"type":"String","default":"10","allowedPattern":"[0-9]{1,4}"},"file":{"type":"String","allowedValues":["/var/log/syslog","/var/log/auth.log"]}},
	"properties":{"linux":{"commands":"tail -n {{ lines }} {{ file }}"}}}`

func createDocument(
	t *testing.T,
	c *awsssm.Client,
	name string,
	content *string,
	tags ...types.Tag,
) *types.DocumentDescription {
	t.Helper()
	out, err := c.CreateDocument(
		t.Context(),
		&awsssm.CreateDocumentInput{Name: &name, Content: content, DocumentType: types.DocumentTypeSession, Tags: tags},
	)
	must(t, err)
	return out.DocumentDescription
}

func tag(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }

// A saved document is returned unchanged by every operation that shows it.
func TestDocumentLife(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c, ctx := s.SSM(s.Admin), t.Context()
	name := aws.String("Tail")
	made := createDocument(t, c, *name, aws.String(tailText), tag("team", "ops"), tag("a", ""))
	described, err := c.DescribeDocument(ctx, &awsssm.DescribeDocumentInput{Name: name})
	must(t, err)
	// Terraform compares what it saved with what it reads.
	a, err := json.Marshal(made)
	must(t, err)
	b, err := json.Marshal(described.Document)
	must(t, err)
	if diff := cmp.Diff(string(a), string(b)); diff != "" {
		t.Error(diff)
	}
	d := described.Document
	if *d.Owner != servertest.Account || d.Status != types.DocumentStatusActive || *d.DocumentVersion != "1" ||
		*d.LatestVersion != "1" || *d.DefaultVersion != "1" ||
		d.HashType != types.DocumentHashTypeSha256 || len(*d.Hash) != 64 ||
		d.DocumentFormat != types.DocumentFormatJson ||
		*d.SchemaVersion != "1.0" ||
		len(d.PlatformTypes) != 1 ||
		len(d.Tags) != 2 ||
		*d.Tags[0].Key != "a" {
		t.Errorf("%s", b)
	}
	if len(d.Parameters) != 2 || *d.Parameters[0].Name != "lines" || *d.Parameters[0].DefaultValue != "10" ||
		d.Parameters[1].DefaultValue != nil {
		t.Errorf("%s", b)
	}

	second := strings.Replace(tailText, `"10"`, `"20"`, 1)
	_, err = c.UpdateDocument(
		ctx,
		&awsssm.UpdateDocumentInput{Name: name, Content: aws.String(tailText), DocumentVersion: aws.String("$LATEST")},
	)
	wantAPIError(t, "the same content", err, "DuplicateDocumentContent", "version 1")
	updated, err := c.UpdateDocument(
		ctx,
		&awsssm.UpdateDocumentInput{
			Name:            name,
			Content:         &second,
			DocumentVersion: aws.String("$LATEST"),
			VersionName:     aws.String("twenty"),
		},
	)
	must(t, err)
	if u := updated.DocumentDescription; *u.DocumentVersion != "2" || *u.DefaultVersion != "1" ||
		*u.LatestVersion != "2" ||
		*u.VersionName != "twenty" {
		t.Errorf("%+v", u)
	}
	for _, get := range []struct {
		in   awsssm.GetDocumentInput
		want string
	}{
		{awsssm.GetDocumentInput{}, tailText},
		{awsssm.GetDocumentInput{DocumentVersion: aws.String("$DEFAULT")}, tailText},
		{awsssm.GetDocumentInput{DocumentVersion: aws.String("$LATEST")}, second},
		{awsssm.GetDocumentInput{VersionName: aws.String("twenty")}, second},
	} {
		get.in.Name = name
		out, err := c.GetDocument(ctx, &get.in)
		must(t, err)
		if *out.Content != get.want {
			t.Errorf("%+v: %s", get.in, *out.Content)
		}
	}
	yaml, err := c.GetDocument(ctx, &awsssm.GetDocumentInput{Name: name, DocumentFormat: types.DocumentFormatYaml})
	must(t, err)
	if !strings.Contains(*yaml.Content, "schemaVersion: \"1.0\"\nsessionType: InteractiveCommands\n") ||
		yaml.DocumentFormat != types.DocumentFormatYaml {
		t.Errorf("%s", *yaml.Content)
	}
	byARN, err := c.GetDocument(
		ctx,
		&awsssm.GetDocumentInput{
			Name: aws.String("arn:aws:ssm:" + servertest.Region + ":" + servertest.Account + ":document/Tail"),
		},
	)
	must(t, err)
	if *byARN.Name != "Tail" {
		t.Errorf("%s", *byARN.Name)
	}
	for _, arn := range []string{
		"arn:aws:ssm:" + servertest.Region + ":999999999999:document/Tail",
		"arn:aws:ssm:xx-east-1:" + servertest.Account + ":document/Tail",
		"arn:aws:ssm:" + servertest.Region + "::document/Tail", "arn:aws:ssm:x/Tail", "../Tail", "/Tail",
	} {
		_, err := c.GetDocument(ctx, &awsssm.GetDocumentInput{Name: &arn})
		wantAPIError(t, arn, err, "InvalidDocument", arn)
	}
	_, err = c.GetDocument(ctx, &awsssm.GetDocumentInput{Name: name, DocumentVersion: aws.String("7")})
	wantAPIError(t, "version 7", err, "InvalidDocumentVersion", "7")

	_, err = c.UpdateDocumentDefaultVersion(
		ctx,
		&awsssm.UpdateDocumentDefaultVersionInput{Name: name, DocumentVersion: aws.String("2")},
	)
	must(t, err)
	var versions []string
	for p := awsssm.NewListDocumentVersionsPaginator(c,
		&awsssm.ListDocumentVersionsInput{Name: name, MaxResults: aws.Int32(1)}); p.HasMorePages(); {
		out, err := p.NextPage(ctx)
		must(t, err)
		for _, v := range out.DocumentVersions {
			versions = append(
				versions,
				fmt.Sprintf("%s %s %t", *v.DocumentVersion, aws.ToString(v.VersionName), v.IsDefaultVersion),
			)
		}
	}
	if diff := cmp.Diff([]string{"2 twenty true", "1  false"}, versions); diff != "" {
		t.Error(diff)
	}
	admin := "arn:aws:iam::" + servertest.Account + ":user/admin"
	described, err = c.DescribeDocument(
		ctx,
		&awsssm.DescribeDocumentInput{Name: name, DocumentVersion: aws.String("1")},
	)
	must(t, err)
	if got := aws.ToString(described.Document.Author); got != admin {
		t.Errorf("version 1 is of %q", got)
	}
	if a := s.JSON(s.Admin, "ssm", "ListDocumentVersions", map[string]any{"Name": *name}); strings.Count(
		a.Body,
		`"Author":"`+admin+`"`,
	) != 2 {
		t.Errorf("the authors of the versions: %s", a.Body)
	}
	_, err = c.DeleteDocument(ctx, &awsssm.DeleteDocumentInput{Name: name, DocumentVersion: aws.String("2")})
	wantAPIError(t, "the default version", err, "InvalidDocumentOperation", "default version")
	_, err = c.DeleteDocument(ctx, &awsssm.DeleteDocumentInput{Name: name, DocumentVersion: aws.String("1")})
	must(t, err)
	_, err = c.ModifyDocumentPermission(
		ctx,
		&awsssm.ModifyDocumentPermissionInput{
			Name:            name,
			PermissionType:  types.DocumentPermissionTypeShare,
			AccountIdsToAdd: []string{"All", "999999999999"},
		},
	)
	must(t, err)
	shares, err := c.DescribeDocumentPermission(
		ctx,
		&awsssm.DescribeDocumentPermissionInput{Name: name, PermissionType: types.DocumentPermissionTypeShare},
	)
	must(t, err)
	if diff := cmp.Diff([]string{"999999999999", "all"}, shares.AccountIds); diff != "" {
		t.Error(diff)
	}
	_, err = c.DeleteDocument(ctx, &awsssm.DeleteDocumentInput{Name: name})
	wantAPIError(t, "a shared document", err, "InvalidDocumentOperation", "shared")
	_, err = c.ModifyDocumentPermission(
		ctx,
		&awsssm.ModifyDocumentPermissionInput{
			Name:               name,
			PermissionType:     types.DocumentPermissionTypeShare,
			AccountIdsToRemove: []string{"all", "999999999999"},
		},
	)
	must(t, err)
	_, err = c.DeleteDocument(ctx, &awsssm.DeleteDocumentInput{Name: name})
	must(t, err)
	_, err = c.DescribeDocument(ctx, &awsssm.DescribeDocumentInput{Name: name})
	wantAPIError(t, "a deleted document", err, "InvalidDocument", "Tail does not exist")
}

func TestDocumentsRefused(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c, ctx := s.SSM(s.Admin), t.Context()
	createDocument(t, c, "Taken", shellText(""))
	for what, x := range map[string]struct {
		in         awsssm.CreateDocumentInput
		code, text string
	}{
		"no type": {awsssm.CreateDocumentInput{Name: aws.String("Doc"), Content: shellText("")},
			"InvalidDocumentSchemaVersion", "--document-type Session"},
		"another type": {awsssm.CreateDocumentInput{Name: aws.String("Doc"), Content: shellText(""),
			DocumentType: "Automation"}, "ValidationException", "Automation"},
		"a path": {awsssm.CreateDocumentInput{Name: aws.String("../Doc"), Content: shellText(""),
			DocumentType: "Session"}, "ValidationException", "'name'"},
		"a long name": {awsssm.CreateDocumentInput{Name: aws.String(strings.Repeat("x", 129)), Content: shellText(""),
			DocumentType: "Session"}, "ValidationException", "'name'"},
		"a reserved name": {awsssm.CreateDocumentInput{Name: aws.String("AWS-Mine"), Content: shellText(""),
			DocumentType: "Session"}, "ValidationException", "reserved"},
		"a taken name": {awsssm.CreateDocumentInput{Name: aws.String("Taken"), Content: shellText(""),
			DocumentType: "Session"}, "DocumentAlreadyExists", "Taken"},
		"schema 2.2": {awsssm.CreateDocumentInput{Name: aws.String("Doc"),
			Content: aws.String(`{"schemaVersion":"2.2"}`), DocumentType: "Session"}, "InvalidDocumentSchemaVersion", "2.2"},
		"an unknown key": {awsssm.CreateDocumentInput{Name: aws.String("Doc"), Content: shellText(`"s3Bucket":"x"`),
			DocumentType: "Session"}, "InvalidDocumentContent", "s3BucketName"},
		"too large": {awsssm.CreateDocumentInput{Name: aws.String("Doc"),
			Content: aws.String(strings.Repeat(" ", 70000)), DocumentType: "Session"}, "MaxDocumentSizeExceeded", "65536"},
		"text": {awsssm.CreateDocumentInput{Name: aws.String("Doc"), Content: shellText(""),
			DocumentType: "Session", DocumentFormat: "TEXT"}, "ValidationException", "TEXT"},
	} {
		_, err := c.CreateDocument(ctx, &x.in)
		wantAPIError(t, what, err, x.code, x.text)
	}
	_, err := c.UpdateDocument(
		ctx,
		&awsssm.UpdateDocumentInput{Name: aws.String("AWS-StartSSHSession"), Content: shellText("")},
	)
	wantAPIError(t, "a document of the server's", err, "InvalidDocumentOperation", "cannot be changed")
}

func TestListDocuments(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := s.SSM(s.Admin)
	createDocument(t, c, "Ops-Shell", shellText(""), tag("team", "ops"))
	createDocument(t, c, "Ops-Tail", aws.String(tailText))
	list := func(in *awsssm.ListDocumentsInput) []string {
		t.Helper()
		names := []string{}
		for p := awsssm.NewListDocumentsPaginator(c, in); p.HasMorePages(); {
			out, err := p.NextPage(t.Context())
			must(t, err)
			for _, d := range out.DocumentIdentifiers {
				names = append(names, *d.Name)
			}
		}
		return names
	}
	filter := func(key string, values ...string) *awsssm.ListDocumentsInput {
		return &awsssm.ListDocumentsInput{Filters: []types.DocumentKeyValuesFilter{{Key: &key, Values: values}}}
	}
	if all := list(&awsssm.ListDocumentsInput{MaxResults: aws.Int32(2)}); len(all) < 9 || !slices.IsSorted(all) ||
		!slices.Contains(all, "Ops-Tail") {
		t.Errorf("%v", all)
	}
	for _, x := range []struct {
		in   *awsssm.ListDocumentsInput
		want []string
	}{
		{filter("Owner", "Self"), []string{"Ops-Shell", "Ops-Tail"}},
		{filter("Name", "Ops-S", "AWS-StartSSH"), []string{"AWS-StartSSHSession", "Ops-Shell"}},
		{filter("tag:team", "ops"), []string{"Ops-Shell"}},
		{filter("tag-key", "team"), []string{"Ops-Shell"}},
		{filter("DocumentType", "Command"), []string{"AWS-RunRemoteScript", "AWS-RunShellScript"}},
		{filter("SearchKeyword", "passwordreset"), []string{"AWS-PasswordReset"}},
		{&awsssm.ListDocumentsInput{Filters: []types.DocumentKeyValuesFilter{
			{Key: aws.String("Owner"), Values: []string{"Self"}},
			{Key: aws.String("PlatformTypes"), Values: []string{"Windows"}},
		}}, []string{"Ops-Shell"}},
		{&awsssm.ListDocumentsInput{DocumentFilterList: []types.DocumentFilter{
			{Key: "Owner", Value: aws.String("Amazon")}, {Key: "Name", Value: aws.String("AWS-StartI")},
		}}, []string{"AWS-StartInteractiveCommand"}},
	} {
		if diff := cmp.Diff(x.want, list(x.in)); diff != "" {
			t.Error(diff)
		}
	}
	_, err := c.ListDocuments(t.Context(), filter("Colour", "red"))
	wantAPIError(t, "a filter", err, "InvalidFilterKey", "") // the SDK drops its message
	_, err = c.ListDocuments(t.Context(), filter("Owner", "Me"))
	wantAPIError(t, "an owner", err, "ValidationException", "Self")
	_, err = c.ListDocuments(t.Context(), &awsssm.ListDocumentsInput{NextToken: aws.String("x")})
	wantAPIError(t, "a token", err, "InvalidNextToken", "")
}

// Documents are resources of policies: by name, by type and by tag.
func TestDocumentPolicies(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	admin, ctx := s.SSM(s.Admin), t.Context()
	createDocument(t, admin, "Ops-Shell", shellText(""), tag("team", "ops"))
	createDocument(t, admin, "Dev-Shell", shellText(""), tag("team", "dev"))
	statement := func(actions, resource, condition string) string {
		return `{"Effect":"Allow","Action":[` + actions + `],"Resource":"` + resource + `","Condition":{` + condition + `}}`
	}
	c := s.SSM(s.User("alice", `{"Version":"2012-10-17","Statement":[`+
		statement(
			`"ssm:GetDocument","ssm:UpdateDocument","ssm:AddTagsToResource"`,
			"*",
			`"StringEquals":{"ssm:resourceTag/team":"ops"}`,
		)+`,`+
		statement(
			`"ssm:CreateDocument"`,
			"arn:aws:ssm:*:*:document/Alice-*",
			`"StringEquals":{"ssm:DocumentType":"Session"}`,
		)+`]}`))
	if _, err := c.GetDocument(ctx, &awsssm.GetDocumentInput{Name: aws.String("Ops-Shell")}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"Dev-Shell", "No-Such", "AWS-StartSSHSession"} {
		_, err := c.GetDocument(ctx, &awsssm.GetDocumentInput{Name: &name})
		wantAPIError(t, name, err, "AccessDeniedException", "ssm:GetDocument")
	}
	_, err := c.UpdateDocument(
		ctx,
		&awsssm.UpdateDocumentInput{Name: aws.String("Dev-Shell"), Content: shellText(`"idleSessionTimeout":"1"`)},
	)
	wantAPIError(t, "another team's", err, "AccessDeniedException", "document/Dev-Shell")
	createDocument(t, c, "Alice-Shell", shellText(""))
	_, err = c.CreateDocument(
		ctx,
		&awsssm.CreateDocumentInput{Name: aws.String("Bob-Shell"), Content: shellText(""), DocumentType: "Session"},
	)
	wantAPIError(t, "another name", err, "AccessDeniedException", "document/Bob-Shell")
	_, err = c.CreateDocument(
		ctx,
		&awsssm.CreateDocumentInput{Name: aws.String("Alice-Run"), Content: shellText(""), DocumentType: "Command"},
	)
	wantAPIError(t, "another type", err, "AccessDeniedException", "document/Alice-Run")
	_, err = c.CreateDocument(
		ctx,
		&awsssm.CreateDocumentInput{
			Name:         aws.String("Alice-Two"),
			Content:      shellText(""),
			DocumentType: "Session",
			Tags:         []types.Tag{tag("team", "ops")},
		},
	)
	wantAPIError(t, "a tag on the way in", err, "AccessDeniedException", "ssm:AddTagsToResource")
	_, err = c.AddTagsToResource(
		ctx,
		&awsssm.AddTagsToResourceInput{
			ResourceType: "Document",
			ResourceId:   aws.String("Dev-Shell"),
			Tags:         []types.Tag{tag("team", "ops")},
		},
	)
	wantAPIError(t, "a tag that would let one in", err, "AccessDeniedException", "document/Dev-Shell")
}

func TestResourceTags(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c, ctx, n := s.SSM(s.Admin), t.Context(), s.Node()
	createDocument(t, c, "Doc", shellText(""))
	for kind, id := range map[types.ResourceTypeForTagging]string{"Document": "Doc", "ManagedInstance": n.ID} {
		_, err := c.AddTagsToResource(
			ctx,
			&awsssm.AddTagsToResourceInput{
				ResourceType: kind,
				ResourceId:   &id,
				Tags:         []types.Tag{tag("Hostname", "web"), tag("a", "1"), tag("b", "")},
			},
		)
		must(t, err)
		_, err = c.RemoveTagsFromResource(
			ctx,
			&awsssm.RemoveTagsFromResourceInput{ResourceType: kind, ResourceId: &id, TagKeys: []string{"b", "zzz"}},
		)
		must(t, err)
		out, err := c.ListTagsForResource(ctx, &awsssm.ListTagsForResourceInput{ResourceType: kind, ResourceId: &id})
		must(t, err)
		if len(out.TagList) != 2 || *out.TagList[0].Key != "Hostname" || *out.TagList[1].Value != "1" {
			t.Errorf("%s: %+v", kind, out.TagList)
		}
		_, err = c.AddTagsToResource(
			ctx,
			&awsssm.AddTagsToResourceInput{
				ResourceType: kind,
				ResourceId:   &id,
				Tags:         []types.Tag{tag("HOSTNAME", "x")},
			},
		)
		wantAPIError(t, "a key in other letters", err, "ValidationException", "letter case")
	}
	for what, in := range map[string]awsssm.AddTagsToResourceInput{
		"InvalidResourceType a": {ResourceType: "PatchBaseline", ResourceId: aws.String("pb-1")},
		"InvalidResourceId b":   {ResourceType: "Document", ResourceId: aws.String("Nope")},
		"InvalidResourceId c":   {ResourceType: "Document", ResourceId: aws.String("AWS-StartSSHSession")},
		"InvalidResourceId d":   {ResourceType: "ManagedInstance", ResourceId: aws.String("mi-00000000000000000")},
		"InvalidResourceId e":   {ResourceType: "ManagedInstance", ResourceId: aws.String("../x")},
	} {
		in.Tags = []types.Tag{tag("a", "b")}
		_, err := c.AddTagsToResource(ctx, &in)
		code, _, _ := strings.Cut(what, " ")
		wantAPIError(t, what, err, code, "")
	}
}

// task returns the next session task that the node receives.
func task(t *testing.T, control *servertest.Channel) mgs.AgentTaskPayload {
	t.Helper()
	m := control.Receive(mgs.TypeInteractiveShell)
	envelope, err := mgs.ParseBody[mgs.AgentTask](m.Payload)
	must(t, err)
	p, err := envelope.Payload()
	must(t, err)
	return p
}

// The task that a node receives follows from the document, the preferences and the
// caller's tags.
func TestStartMessage(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	admin, ctx := s.SSM(s.Admin), t.Context()
	alice := s.User("alice", servertest.Allow("*", "ssm:*"))
	must(t, s.Directory.Tags.Add(ctx, identity.KindUser, "alice", map[string]string{"SSMSessionRunAs": "alice_os"}))
	n := s.Node()
	control := n.Connect()
	createDocument(
		t,
		admin,
		preferencesName,
		shellText(
			`"runAsEnabled":true,"runAsDefaultUser":"ops","idleSessionTimeout":"7","maxSessionDuration":"60",`+
				`"kmsKeyId":"alias/none"`,
		),
	)
	createDocument(t, admin, "Tail", aws.String(tailText))
	_, err := admin.StartSession(ctx, &awsssm.StartSessionInput{Target: &n.ID})
	must(t, err)
	if p := task(t, control); p.RunAsUser != "ops" || p.DocumentName != preferencesName ||
		!strings.Contains(string(p.DocumentContent), `"idleSessionTimeout":"7"`) {
		t.Errorf("%+v %s", p, p.DocumentContent)
	}
	out, err := s.SSM(alice).StartSession(ctx, &awsssm.StartSessionInput{
		Target: &n.ID, DocumentName: aws.String("Tail"), Parameters: map[string][]string{"file": {"/var/log/syslog"}},
	})
	must(t, err)
	p := task(t, control)
	if p.RunAsUser != "alice_os" || p.SessionID != *out.SessionId || p.Parameters["file"] != "/var/log/syslog" ||
		p.Parameters["lines"] != "10" ||
		!strings.Contains(string(p.DocumentContent), "tail -n {{ lines }} {{ file }}") {
		t.Errorf("%+v %s", p, p.DocumentContent)
	}
	described, err := admin.DescribeSessions(
		ctx,
		&awsssm.DescribeSessionsInput{
			State:   "Active",
			Filters: []types.SessionFilter{{Key: "SessionId", Value: out.SessionId}},
		},
	)
	must(t, err)
	if x := described.Sessions[0]; *x.DocumentName != "Tail" || aws.ToString(x.MaxSessionDuration) != "60" {
		t.Errorf("%+v", x)
	}

	// Invalid input is refused by name, and the node receives nothing.
	for name, x := range map[string]struct {
		in         awsssm.StartSessionInput
		code, text string
	}{
		"missing": {awsssm.StartSessionInput{DocumentName: aws.String("Tail")}, "InvalidParameters", `"file"`},
		"unknown": {awsssm.StartSessionInput{DocumentName: aws.String("Tail"),
			Parameters: map[string][]string{"file": {"/var/log/syslog"}, "line": {"1"}}}, "InvalidParameters", `"line"`},
		"breakout": {awsssm.StartSessionInput{DocumentName: aws.String("Tail"),
			Parameters: map[string][]string{"file": {"/var/log/syslog"}, "lines": {"1; reboot #"}}}, "InvalidParameters",
			`"lines"`},
		"parameters of another document": {
			awsssm.StartSessionInput{Parameters: map[string][]string{"command": {"id"}}}, "InvalidParameters",
			`"command"`},
	} {
		x.in.Target = &n.ID
		_, err := admin.StartSession(ctx, &x.in)
		wantAPIError(t, name, err, x.code, x.text)
	}
	_, err = admin.StartSession(
		ctx,
		&awsssm.StartSessionInput{
			Target:       &n.ID,
			DocumentName: aws.String("AWS-StartSSHSession"),
			Reason:       aws.String("last"),
		},
	)
	must(t, err)
	if p := task(t, control); p.DocumentName != "AWS-StartSSHSession" || p.Parameters["portNumber"] != "22" ||
		p.RunAsUser != "" {
		t.Errorf("%+v", p)
	}
}

// The account's rules hold for every session, whatever document it names.
func TestAccountRulesHoldForEverySession(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c, ctx, n := s.SSM(s.Admin), t.Context(), s.Node()
	n.Connect()
	createDocument(
		t,
		c,
		preferencesName,
		shellText(
			`"runAsEnabled":true,"sekisho":{"reasonRequired":true,"reasonPattern":"TICKET-[0-9]+",`+
				`"maxConcurrentSessions":{"perOwner":1}}`,
		),
	)
	createDocument(t, c, "Quiet", shellText(""))
	for _, doc := range []*string{nil, aws.String("Quiet"), aws.String("AWS-StartSSHSession")} {
		_, err := c.StartSession(ctx, &awsssm.StartSessionInput{Target: &n.ID, DocumentName: doc})
		wantAPIError(t, "no reason", err, "ValidationException", "A reason is required")
		_, err = c.StartSession(
			ctx,
			&awsssm.StartSessionInput{Target: &n.ID, DocumentName: doc, Reason: aws.String("fun")},
		)
		wantAPIError(t, "another reason", err, "ValidationException", "TICKET-[0-9]+")
	}
	_, err := c.StartSession(ctx, &awsssm.StartSessionInput{Target: &n.ID, Reason: aws.String("TICKET-1")})
	wantAPIError(t, "nobody to run as", err, "ValidationException", "no tag SSMSessionRunAs")
	start := func() error {
		_, err := c.StartSession(
			ctx,
			&awsssm.StartSessionInput{Target: &n.ID, DocumentName: aws.String("Quiet"), Reason: aws.String("TICKET-1")},
		)
		return err
	}
	must(t, start())
	wantAPIError(t, "a second session", start(), "LimitExceededException", "1 active sessions")
}

// A grant on documents by tag allows those documents and no others.
func TestStartByDocumentTag(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	admin, ctx, n := s.SSM(s.Admin), t.Context(), s.Node()
	n.Connect()
	createDocument(t, admin, "Ops-Tail", aws.String(tailText), tag("team", "ops"))
	createDocument(t, admin, "Dev-Tail", aws.String(tailText), tag("team", "dev"))
	c := s.SSM(s.User("alice", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"ssm:StartSession","Resource":"arn:aws:ssm:*:*:managed-instance/*"},
		{"Effect":"Allow","Action":"ssm:StartSession","Resource":"arn:aws:ssm:*:*:document/*","Condition":{"StringEquals":{"aws:ResourceTag/team":"ops","ssm:DocumentType":"Session"}}}]}`))
	params := map[string][]string{"file": {"/var/log/syslog"}}
	if _, err := c.StartSession(ctx,
		&awsssm.StartSessionInput{Target: &n.ID, DocumentName: aws.String("Ops-Tail"), Parameters: params}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"Dev-Tail", "AWS-StartSSHSession", "No-Such"} {
		_, err := c.StartSession(ctx, &awsssm.StartSessionInput{Target: &n.ID, DocumentName: &name, Parameters: params})
		wantAPIError(t, name, err, "AccessDeniedException", "document/"+name)
	}
}
