package doclibrary_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sekisho"
	"sekisho/internal/config/yamljson"
	"sekisho/internal/ssmdoc"
	"sekisho/internal/ssmdoc/doclibrary"
	"sekisho/internal/store/sqlstore"
)

func newStore(t *testing.T) *sqlstore.DocumentStore {
	t.Helper()
	db, err := sqlstore.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db.Documents
}

func library(t *testing.T) *doclibrary.Library {
	t.Helper()
	return doclibrary.New(newStore(t), yamljson.Texts{}, nil, func() time.Time { return time.Unix(1_700_000_000, 0) })
}

// shell returns a document that its idle timeout identifies.
func shell(minutes int) string {
	return fmt.Sprintf(
		`{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"idleSessionTimeout":"%d"}}`,
		minutes,
	)
}

func create(t *testing.T, l *doclibrary.Library, name string, minutes int) {
	t.Helper()
	if _, err := l.Create(t.Context(), doclibrary.Draft{Name: name, Content: shell(minutes)}); err != nil {
		t.Fatal(err)
	}
}

func update(t *testing.T, l *doclibrary.Library, name string, minutes int) {
	t.Helper()
	if _, err := l.Update(t.Context(), doclibrary.Draft{Name: name, Content: shell(minutes)},
		doclibrary.Latest); err != nil {
		t.Fatal(err)
	}
}

func wantFault(t *testing.T, err, cause error) {
	t.Helper()
	if !errors.Is(err, cause) {
		t.Errorf("%v is not %v", err, cause)
	}
}

// idle returns the idle timeout of sessions with the document called name.
func idle(t *testing.T, l *doclibrary.Library, name string) time.Duration {
	t.Helper()
	s, err := l.ForSession(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Plan(s.Account, ssmdoc.SessionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return p.IdleTimeout
}

func TestSessionsUseTheDefaultVersion(t *testing.T) {
	t.Parallel()
	l := library(t)
	if got := idle(t, l, ""); got != 20*time.Minute {
		t.Errorf("unsaved: %s", got)
	}
	create(t, l, ssmdoc.Default, 5)
	create(t, l, "Other", 30)
	if a, b := idle(t, l, ""), idle(t, l, "Other"); a != 5*time.Minute || b != 30*time.Minute {
		t.Errorf("%s %s", a, b)
	}
	update(t, l, "Other", 31)
	if got := idle(t, l, "Other"); got != 30*time.Minute {
		t.Errorf("a version that is not the default one is used: %s", got)
	}
	if v, err := l.SetDefault(t.Context(), "Other", 2); err != nil || v.Number != 2 {
		t.Fatal(v, err)
	}
	if got := idle(t, l, "Other"); got != 31*time.Minute {
		t.Errorf("the new default: %s", got)
	}
	// Preferences take effect as soon as they are saved.
	update(t, l, ssmdoc.Default, 6)
	if a, b := idle(t, l, ""), idle(t, l, "AWS-StartSSHSession"); a != 6*time.Minute || b != 6*time.Minute {
		t.Errorf("%s %s", a, b)
	}
	s, err := l.ForSession(t.Context(), "")
	if err != nil || s.Name != ssmdoc.Default || s.Version != "2" {
		t.Errorf("%+v %v", s, err)
	}
	if err := l.Delete(t.Context(), ssmdoc.Default, "", ""); err != nil {
		t.Fatal(err)
	}
	if got := idle(t, l, ""); got != 20*time.Minute {
		t.Errorf("deleted: %s", got)
	}
	_, err = l.ForSession(t.Context(), "Nope")
	if !sekisho.IsNotFound(err) {
		t.Error(err)
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	l, ctx := library(t), t.Context()
	create(t, l, "Doc", 1)
	draft := func(minutes int) doclibrary.Draft { return doclibrary.Draft{Name: "Doc", Content: shell(minutes)} }

	_, err := l.Update(ctx, draft(1), doclibrary.Latest)
	wantFault(t, err, doclibrary.ErrSameContent)
	_, err = l.Update(ctx, draft(99), doclibrary.Latest)
	wantFault(t, err, doclibrary.ErrInvalidContent)
	_, err = l.Update(ctx, doclibrary.Draft{Name: "Nope", Content: shell(1)}, "")
	if !sekisho.IsNotFound(err) {
		t.Error(err)
	}
	_, err = l.Update(ctx, doclibrary.Draft{Name: "AWS-StartSSHSession", Content: shell(1)}, "")
	wantFault(t, err, doclibrary.ErrOperation)

	named := draft(2)
	named.VersionName = "two"
	s, err := l.Update(ctx, named, "1")
	if err != nil || s.Version.Number != 2 || s.DefaultVersion != 1 || s.LatestVersion != 2 {
		t.Fatalf("%+v %v", s, err)
	}
	for _, base := range []string{"1", doclibrary.DefaultName, "7"} {
		_, err = l.Update(ctx, draft(3), base)
		wantFault(t, err, doclibrary.ErrNotLatest)
	}
	again := draft(3)
	again.VersionName = "two"
	_, err = l.Update(ctx, again, "")
	wantFault(t, err, doclibrary.ErrVersionName)
	update(t, l, "Doc", 1) // earlier content may be saved again
	for version, want := range map[string]int64{"": 1, doclibrary.DefaultName: 1, doclibrary.Latest: 3, "2": 2} {
		s, err := l.Find(ctx, "Doc", version, "")
		if err != nil || s.Version.Number != want {
			t.Errorf("%q: %+v %v", version, s, err)
		}
	}
	if s, err := l.Find(ctx, "Doc", "", "two"); err != nil || s.Version.Number != 2 {
		t.Errorf("%+v %v", s, err)
	}
	for _, v := range [][2]string{{"9", ""}, {"", "nine"}, {"1", "two"}} {
		_, err := l.Find(ctx, "Doc", v[0], v[1])
		wantFault(t, err, doclibrary.ErrVersion)
	}
	_, err = l.SetDefault(ctx, "Doc", 9)
	wantFault(t, err, doclibrary.ErrVersion)
	_, err = l.SetDefault(ctx, "Nope", 1)
	if !sekisho.IsNotFound(err) || errors.Is(err, doclibrary.ErrVersion) {
		t.Error(err)
	}
	// A deleted latest version does not return, and its number is not reused.
	if err := l.Delete(ctx, "Doc", "3", ""); err != nil {
		t.Fatal(err)
	}
	s, err = l.Update(ctx, draft(4), doclibrary.Latest)
	if err != nil || s.Version.Number != 4 {
		t.Fatalf("%+v %v", s, err)
	}
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	l, ctx := library(t), t.Context()
	for name, c := range map[string]struct {
		draft doclibrary.Draft
		want  error
	}{
		"AWS's name":      {doclibrary.Draft{Name: "aws-Mine", Content: shell(1)}, doclibrary.ErrReserved},
		"a reserved name": {doclibrary.Draft{Name: "Sekisho-Mine", Content: shell(1)}, doclibrary.ErrReserved},
		"another schema":  {doclibrary.Draft{Name: "Doc", Content: `{"schemaVersion":"0.3"}`}, ssmdoc.ErrSchemaVersion},
		"wrong":           {doclibrary.Draft{Name: "Doc", Content: `{"schemaVersion":"1.0"}`}, doclibrary.ErrInvalidContent},
		"too large": {doclibrary.Draft{Name: "Doc", Content: strings.Repeat(" ", ssmdoc.MaxSize+1)},
			doclibrary.ErrSize},
		"not YAML": {doclibrary.Draft{Name: "Doc", Format: doclibrary.YAML, Content: "a: ["},
			doclibrary.ErrInvalidContent},
		"an alias bomb": {doclibrary.Draft{Name: "Doc", Format: doclibrary.YAML, Content: "a: &a [x]\nb: [*a, *a]"},
			doclibrary.ErrInvalidContent},
		"not preferences": {doclibrary.Draft{Name: ssmdoc.Default,
			Content: `{"schemaVersion":"1.0","sessionType":"Port","properties":{"portNumber":"1"}}`},
			doclibrary.ErrInvalidContent},
	} {
		_, err := l.Create(ctx, c.draft)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	create(t, l, "Doc", 1)
	_, err := l.Create(ctx, doclibrary.Draft{Name: "Doc", Content: shell(2)})
	if sekisho.CodeOf(err) != sekisho.CodeConflict {
		t.Error(err)
	}
}

func TestFormats(t *testing.T) {
	t.Parallel()
	l, ctx := library(t), t.Context()
	const text = "schemaVersion: '1.0' # a remark\nsessionType: Standard_Stream\ninputs: {idleSessionTimeout: 7}\n"
	s, err := l.Create(ctx, doclibrary.Draft{Name: "Doc", Format: doclibrary.YAML, Content: text})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := l.Text(s.Version, doclibrary.YAML); err != nil || got != text {
		t.Errorf("%q %v", got, err)
	}
	got, err := l.Text(s.Version, "")
	if err != nil ||
		!strings.HasPrefix(
			strings.Join(strings.Fields(got), ""),
			`{"schemaVersion":"1.0","sessionType":"Standard_Stream"`,
		) {
		t.Errorf("%q %v", got, err)
	}
	if got := idle(t, l, "Doc"); got != 7*time.Minute {
		t.Error(got)
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	l, ctx := library(t), t.Context()
	create(t, l, "Doc", 1)
	update(t, l, "Doc", 2)
	wantFault(t, l.Delete(ctx, "Doc", "1", ""), doclibrary.ErrOperation)
	wantFault(t, l.Delete(ctx, "Doc", doclibrary.DefaultName, ""), doclibrary.ErrOperation)
	wantFault(t, l.Delete(ctx, "Doc", "7", ""), doclibrary.ErrVersion)
	wantFault(t, l.Delete(ctx, "AWS-StartSSHSession", "", ""), doclibrary.ErrOperation)
	if err := l.Share(ctx, "Doc", doclibrary.DefaultName, []string{"ALL", "123456789012"}, nil); err != nil {
		t.Fatal(err)
	}
	wantFault(t, l.Delete(ctx, "Doc", "", ""), doclibrary.ErrOperation)
	if err := l.Share(ctx, "Doc", doclibrary.DefaultName, nil, []string{"all", "123456789012"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Delete(ctx, "Doc", "", ""); err != nil {
		t.Error(err)
	}
	if !sekisho.IsNotFound(l.Delete(ctx, "Doc", "", "")) {
		t.Error("deleted twice")
	}
}

func TestRetag(t *testing.T) {
	t.Parallel()
	got, err := doclibrary.Retag(
		map[string]string{"a": "1", "b": "2"},
		map[string]string{"b": "3", "c": "4"},
		[]string{"a", "x"},
	)
	if err != nil || len(got) != 2 || got["b"] != "3" || got["c"] != "4" {
		t.Errorf("%v %v", got, err)
	}
	if _, err := doclibrary.Retag(map[string]string{"a": "1"}, map[string]string{"A": "2"}, nil); sekisho.CodeOf(
		err,
	) != sekisho.CodeInvalid {
		t.Errorf("two keys that differ in case: %v", err)
	}
	if _, err := doclibrary.Retag(map[string]string{"a": "1"}, map[string]string{"A": "2"}, []string{"a"}); err != nil {
		t.Errorf("one in place of the other: %v", err)
	}
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint(i)] = ""
	}
	_, err = doclibrary.Retag(nil, many, nil)
	wantFault(t, err, doclibrary.ErrTooManyTags)
}

// onlyBucket knows one bucket.
type onlyBucket string

func (b onlyBucket) CheckLogs(_ context.Context, s *ssmdoc.Settings) error {
	if s.S3BucketName != string(b) {
		return sekisho.Errorf(sekisho.CodeInvalid, "there is no bucket %q.", s.S3BucketName)
	}
	return nil
}

// TestDestinationsOfLogs: preferences with a destination that cannot receive logs
// are not saved. Other documents are, and saved ones can still be read.
func TestDestinationsOfLogs(t *testing.T) {
	t.Parallel()
	db := newStore(t)
	save := func(places doclibrary.Places, name, bucket string) error {
		_, err := doclibrary.New(db, yamljson.Texts{}, places, nil).Create(t.Context(), doclibrary.Draft{
			Name: name, Content: `{"schemaVersion":"1.0","sessionType":"Standard_Stream","inputs":{"s3BucketName":"` + bucket +
				`"}}`,
		})
		return err
	}
	if err := save(onlyBucket("logs"), ssmdoc.Default, "log"); !errors.Is(err, doclibrary.ErrInvalidContent) ||
		!strings.Contains(err.Error(), `there is no bucket "log"`) {
		t.Errorf("a bucket that is not there: %v", err)
	}
	for name, bucket := range map[string]string{ssmdoc.Default: "logs", "Other": "elsewhere"} {
		if err := save(onlyBucket("logs"), name, bucket); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	l := doclibrary.New(db, yamljson.Texts{}, onlyBucket("another"), nil)
	if _, err := l.Find(t.Context(), ssmdoc.Default, "", ""); err != nil {
		t.Errorf("what was saved cannot be read: %v", err)
	}
	if _, err := l.Update(t.Context(), doclibrary.Draft{
		Name: ssmdoc.Default, Content: `{"schemaVersion":"1.0","sessionType":"Standard_Stream",` +
			`"inputs":{"s3BucketName":"gone"}}`,
	}, ""); !errors.Is(err, doclibrary.ErrInvalidContent) {
		t.Errorf("an update: %v", err)
	}
}
