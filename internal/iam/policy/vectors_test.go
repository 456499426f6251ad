package policy_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sekisho/internal/iam/policy"
)

type vectorPolicies struct {
	Identity        []json.RawMessage   `json:"identity"`
	Boundary        json.RawMessage     `json:"boundary"`
	Session         json.RawMessage     `json:"session"`
	Resource        json.RawMessage     `json:"resource"`
	SCP             [][]json.RawMessage `json:"scp"`
	ResourceIsTrust bool                `json:"resourceIsTrust"`
}

func present(m json.RawMessage) bool { return len(m) > 0 && string(m) != "null" }

func (v vectorPolicies) compile(t *testing.T) *policy.Set {
	t.Helper()
	parse := func(m json.RawMessage) *policy.Document {
		d, err := policy.Parse(m)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var p policy.Policies
	for _, m := range v.Identity {
		p.Identity = append(p.Identity, parse(m))
	}
	if present(v.Boundary) {
		p.Boundary = parse(v.Boundary)
	}
	if present(v.Session) {
		p.HasSession = true
		p.Session = []*policy.Document{parse(v.Session)}
	}
	if present(v.Resource) && v.ResourceIsTrust {
		p.Trust = parse(v.Resource)
	} else if present(v.Resource) {
		p.Resource = parse(v.Resource)
	}
	for _, level := range v.SCP {
		var docs []*policy.Document
		for _, m := range level {
			docs = append(docs, parse(m))
		}
		p.SCP = append(p.SCP, docs)
	}
	return policy.Compile(p)
}

type vectorRequest struct {
	Action          string                     `json:"action"`
	Resource        string                     `json:"resource"`
	Context         map[string]json.RawMessage `json:"context"`
	ResourceAccount string                     `json:"resourceAccount"`
	Principal       *struct {
		Type    string `json:"type"`
		ARN     string `json:"arn"`
		Account string `json:"account"`
		RoleARN string `json:"roleArn"`
		UserARN string `json:"userArn"`
	} `json:"principal"`
}

func contextOf(t *testing.T, m map[string]json.RawMessage) *policy.Context {
	t.Helper()
	ctx := policy.NewContext()
	for k, raw := range m {
		var one string
		var many []string
		switch {
		case json.Unmarshal(raw, &one) == nil:
			ctx.Set(k, policy.Single(one))
		case json.Unmarshal(raw, &many) == nil:
			ctx.Set(k, policy.Multi(many...))
		default:
			ctx.Set(k, policy.Single(string(raw)))
		}
	}
	return ctx
}

func (v vectorRequest) request(t *testing.T) *policy.Request {
	t.Helper()
	r := &policy.Request{Action: v.Action, Resource: v.Resource, Context: contextOf(t, v.Context)}
	if p := v.Principal; p != nil {
		r.ResourceAccount = v.ResourceAccount
		r.Principal = policy.Principal{
			Type:    p.Type,
			ARN:     p.ARN,
			Account: p.Account,
			RoleARN: p.RoleARN,
			UserARN: p.UserARN,
		}
		switch p.Type {
		case policy.TypeService:
			r.Principal.Service = p.ARN
		case policy.TypeFederated:
			r.Principal.Federated = p.ARN
		}
	}
	return r
}

type vectorFile struct {
	Vectors []struct {
		ID         string         `json:"id"`
		Policies   vectorPolicies `json:"policies"`
		Request    vectorRequest  `json:"request"`
		Expect     string         `json:"expect"`
		Sids       *[]*string     `json:"expectMatchedSids"`
		Why        string         `json:"why"`
		Confidence string         `json:"confidence"`
	} `json:"vectors"`
	Multi []struct {
		ID       string         `json:"id"`
		Policies vectorPolicies `json:"policies"`
		Call     struct {
			Action       string                     `json:"action"`
			Target       string                     `json:"target"`
			DocumentName string                     `json:"documentName"`
			Region       string                     `json:"region"`
			Account      string                     `json:"account"`
			TargetTags   map[string]string          `json:"targetTags"`
			DocumentTags map[string]string          `json:"documentTags"`
			Context      map[string]json.RawMessage `json:"context"`
			Mode         string                     `json:"mode"`
		} `json:"call"`
		Expect   string `json:"expect"`
		DeniedOn string `json:"expectDeniedOn"`
		Why      string `json:"why"`
	} `json:"multi"`
	Validation []struct {
		ID          string `json:"id"`
		Document    string `json:"document"`
		Kind        string `json:"kind"`
		Why         string `json:"why"`
		ExpectError *struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"expectError"`
	} `json:"validation"`
}

func readVectors(t *testing.T) vectorFile {
	t.Helper()
	src, err := os.ReadFile("testdata/iam-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var f vectorFile
	if err := json.Unmarshal(src, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Vectors) == 0 || len(f.Multi) == 0 || len(f.Validation) == 0 {
		t.Fatal("a group of vectors is missing")
	}
	return f
}

func TestVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t).Vectors {
		t.Run(v.ID, func(t *testing.T) {
			if v.Confidence == "ambiguous" {
				t.Skip("sources conflict")
			}
			set, req := v.Policies.compile(t), v.Request.request(t)
			got := set.Evaluate(req)
			if got.Effect.String() != v.Expect {
				t.Fatalf("%s, want %s: %s", got.Effect, v.Expect, v.Why)
			}
			e := set.Explain(req)
			if e.Decision != got {
				t.Errorf("Explain says %v, Evaluate %v", e.Decision, got)
			}
			if v.Sids == nil {
				return
			}
			var want, have []string
			for _, s := range *v.Sids {
				if s == nil {
					s = new(string)
				}
				want = append(want, *s)
			}
			for _, m := range e.Matched {
				have = append(have, m.Sid)
			}
			slices.Sort(want)
			slices.Sort(have)
			if d := cmp.Diff(want, have); d != "" {
				t.Errorf("matched statements (-want +got):\n%s", d)
			}
		})
	}
}

func TestStartSessionVectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t).Multi {
		t.Run(v.ID, func(t *testing.T) {
			c := v.Call
			resource := func(arn string, tags map[string]string) policy.SessionResource {
				ctx := contextOf(t, c.Context)
				for k, val := range tags {
					ctx.Set("ssm:resourceTag/"+k, policy.Single(val))
					ctx.Set("aws:ResourceTag/"+k, policy.Single(val))
				}
				return policy.SessionResource{ARN: arn, Context: ctx}
			}
			node := "arn:aws:ec2:" + c.Region + ":" + c.Account + ":instance/" + c.Target
			if strings.HasPrefix(c.Target, "mi-") {
				node = "arn:aws:ssm:" + c.Region + ":" + c.Account + ":managed-instance/" + c.Target
			}
			name, owner := c.DocumentName, c.Account
			if name == "" {
				name = "SSM-SessionManagerRunShell"
			}
			if strings.HasPrefix(name, "AWS-") {
				owner = ""
			}
			doc := "arn:aws:ssm:" + c.Region + ":" + owner + ":document/" + name
			if strings.HasPrefix(name, "arn:") {
				doc = name
			}
			got := v.Policies.compile(t).EvaluateStartSession(policy.StartSession{
				Action:   c.Action,
				Node:     resource(node, c.TargetTags),
				Document: resource(doc, c.DocumentTags),
				Named:    c.DocumentName != "",
				Strict:   c.Mode == "strict",
			})
			if got.Effect.String() != v.Expect {
				t.Fatalf("%s, want %s: %s", got.Effect, v.Expect, v.Why)
			}
			if !got.Allowed() && got.Request.Resource != v.DeniedOn {
				t.Errorf("denied on %s, want %s", got.Request.Resource, v.DeniedOn)
			}
		})
	}
}

func TestValidationVectors(t *testing.T) {
	t.Parallel()
	kinds := map[string]policy.Kind{
		"identity": policy.KindIdentity, "boundary": policy.KindBoundary, "session": policy.KindSession,
		"resource": policy.KindResource, "trust": policy.KindTrust, "scp": policy.KindSCP,
	}
	for _, v := range readVectors(t).Validation {
		t.Run(v.ID, func(t *testing.T) {
			kind, ok := kinds[v.Kind]
			if !ok {
				t.Fatalf("unknown kind %q", v.Kind)
			}
			err := policy.Validate([]byte(v.Document), kind)
			if err == nil {
				// Only the store knows whether a principal exists; here none does.
				err = nobodyExists(t, v.Document, kind)
			}
			if v.ExpectError == nil {
				if err != nil {
					t.Fatalf("refused: %v (%s)", err, v.Why)
				}
				return
			}
			ve, ok := errors.AsType[*policy.ValidationError](err)
			if !ok {
				t.Fatalf("error %v, want %s (%s)", err, v.ExpectError.Message, v.Why)
			}
			if ve.Code != v.ExpectError.Code || ve.Message != v.ExpectError.Message {
				t.Errorf("got %s: %s\nwant %s: %s", ve.Code, ve.Message, v.ExpectError.Code, v.ExpectError.Message)
			}
		})
	}
}

func nobodyExists(t *testing.T, doc string, kind policy.Kind) error {
	t.Helper()
	d, err := policy.Parse([]byte(doc))
	if err != nil {
		t.Fatalf("valid, but Parse says: %v", err)
	}
	if kind != policy.KindTrust {
		return nil
	}
	for _, ref := range d.Principals() {
		if ref.Type == "AWS" && strings.Contains(ref.Value, "/") {
			return policy.InvalidPrincipal(ref)
		}
	}
	return nil
}
