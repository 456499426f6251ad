package awsproto_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/wire/awsproto"
)

type filter struct {
	Name   string
	Values []string `query:"Value"`
}

type form struct {
	UserName string
	MaxItems *int32
	DryRun   bool
	Tags     []tag
	IDs      []string `query:"InstanceId"`
	Filters  []filter `query:"Filter"`
	Context  map[string]string
	Nested   *struct{ Inner struct{ Leaf string } }
	Since    awsproto.Epoch
	Blob     []byte
	Ignored  string `query:"-"`
}

func TestDecodeQuery(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		form string
		want form
	}{
		"nothing": {"Action=X&Version=1", form{}},
		"scalars": {"UserName=a&MaxItems=7&DryRun=true&Ignored=x", form{UserName: "a", MaxItems: ptr(int32(7)),
			DryRun: true}},
		"member list": {"Tags.member.1.Key=k&Tags.member.1.Value=v&Tags.member.2.Key=l", form{Tags: []tag{{"k", ptr("v")},
			{Key: "l"}}}},
		"bare list": {"Tags.1.Key=k&InstanceId.2=b&InstanceId.10=c&InstanceId.1=a", form{Tags: []tag{{Key: "k"}},
			IDs: []string{"a", "b", "c"}}},
		"empty list": {"InstanceId=", form{IDs: []string{}}},
		"filters": {"Filter.1.Name=tag:a&Filter.1.Value.1=x&Filter.1.Value.2=y", form{Filters: []filter{{"tag:a",
			[]string{"x", "y"}}}}},
		"map": {"Context.entry.1.key=a&Context.entry.1.value=1&Context.entry.2.key=b&Context.entry.2.value=",
			form{Context: map[string]string{"a": "1", "b": ""}}},
		"nested struct": {"Nested.Inner.Leaf=x",
			form{Nested: &struct{ Inner struct{ Leaf string } }{struct{ Leaf string }{"x"}}}},
		"time and blob": {"Since=2026-11-23T12:37:28Z&Blob=aGk%3D", form{Since: awsproto.NewEpoch(time.Unix(1795437448,
			0).UTC()), Blob: []byte("hi")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values, err := url.ParseQuery(c.form)
			if err != nil {
				t.Fatal(err)
			}
			var got form
			if err := awsproto.DecodeQuery(values, &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDecodeQueryRefuses(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]string{
		"twice":            "UserName=a&UserName=b",
		"number":           "MaxItems=x",
		"overflow":         "MaxItems=2147483648",
		"bool":             "DryRun=maybe",
		"index text":       "InstanceId.x=1",
		"index negative":   "InstanceId.-1=1",
		"index zeros":      "InstanceId.01=1",
		"index too large":  "InstanceId.1001=1",
		"list as value":    "InstanceId=i-0",
		"two numberings":   "InstanceId.member.1=a&InstanceId.2=b",
		"value as list":    "UserName.1=a",
		"value and list":   "UserName=a&UserName.1=a",
		"struct as value":  "Nested=x",
		"entry, no value":  "Context.entry.1.key=a",
		"entry, no key":    "Context.entry.1.value=a",
		"duplicate in map": "Context.entry.1.key=a&Context.entry.1.value=1&Context.entry.2.key=a&Context.entry.2.value=2",
		"time":             "Since=yesterday",
		"base64":           "Blob=*",
		"deep":             "Nested" + strings.Repeat(".a", 100) + "=1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			values, err := url.ParseQuery(s)
			if err != nil {
				t.Fatal(err)
			}
			e, ok := errors.AsType[*awsproto.Error](awsproto.DecodeQuery(values, &form{}))
			if !ok || e.Status != 400 || e.Message == "" {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// TestDecodeQueryQuotesSafely: the refused value is quoted in the message, which programs print.
func TestDecodeQueryQuotesSafely(t *testing.T) {
	t.Parallel()
	values := url.Values{"MaxItems": {"\x1b]0;owned\a" + strings.Repeat("é", 1<<10)}}
	e, ok := errors.AsType[*awsproto.Error](awsproto.DecodeQuery(values, &form{}))
	if !ok || len(e.Message) > 300 || strings.ContainsAny(e.Message, "\x1b\a\uFFFD") {
		t.Errorf("got %+v", e)
	}
}

func FuzzDecodeQuery(f *testing.F) {
	f.Add("Action=X&UserName=a&MaxItems=7&DryRun=true&Tags.member.1.Key=k&Tags.member.1.Value=v&InstanceId.2=b")
	f.Add(
		"Filter.1.Name=tag:a&Filter.1.Value.1=x&Context.entry.1.key=a&Context.entry.1.value=1&Nested.Inner.Leaf=x&" +
			"Since=1e5&Blob=aGk%3D&InstanceId=",
	)
	f.Fuzz(func(t *testing.T, s string) {
		values, err := url.ParseQuery(s)
		if err != nil {
			return
		}
		var v form
		if err := awsproto.DecodeQuery(values, &v); err != nil {
			if _, ok := errors.AsType[*awsproto.Error](err); !ok {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		if len(v.IDs) > 1001 || v.Ignored != "" || v.UserName != values.Get("UserName") {
			t.Fatalf("%+v from %q", v, s)
		}
	})
}
