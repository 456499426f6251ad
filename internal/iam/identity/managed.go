package identity

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sekisho/internal/iam/policy"
)

// Create creates a managed policy and its first version.
func (managed *ManagedPolicies) Create(
	ctx context.Context,
	path, name, description, document string,
	tags map[string]string,
) (*Policy, error) {
	var p *Policy
	err := managed.update(ctx, func(t *tx) error {
		if err := checkName("policyName", name, 128); err != nil {
			return err
		}
		if len([]rune(description)) > 1000 {
			return invalid(
				"1 validation error detected: Value at 'description' failed to satisfy constraint: Member must have length " +
					"less than or equal to 1000",
			)
		}
		path, err := checkPath(path)
		if err != nil {
			return err
		}
		tags, err := mergeTags(nil, tags)
		if err != nil {
			return err
		}
		if err := t.checkManaged(document); err != nil {
			return err
		}
		if t.policyNames[strings.ToLower(name)] != "" {
			return exists("A policy called %s already exists. Duplicate names are not allowed.", name)
		}
		if len(t.policyNames) >= maxPolicies {
			return limit("Cannot exceed quota for PoliciesPerAccount: %d", maxPolicies)
		}
		p = &Policy{
			Path: path, Name: name, ID: newEntityID("ANPA"), ARN: managed.arn("policy", path, name), Description: description,
			Created: t.now, Updated: t.now, Tags: tags,
			Versions: []PolicyVersion{{ID: "v1", Document: document, Created: t.now}}, Default: "v1", NextVersion: 2,
		}
		t.put(p)
		return nil
	})
	return p, err
}

func (s *state) checkManaged(document string) error {
	if err := s.checkDocument(document, policy.KindIdentity); err != nil {
		return err
	}
	if policy.Size([]byte(document)) > maxManagedSize {
		return limit("Cannot exceed quota for PolicySize: %d", maxManagedSize)
	}
	return nil
}

// Get returns a managed policy by its ARN.
func (managed *ManagedPolicies) Get(ctx context.Context, arn string) (*Policy, error) {
	return get(ctx, managed.account, func(s *state) (*Policy, error) { return s.policy(arn) })
}

// List returns the policies of the account and of AWS, by ARN.
func (managed *ManagedPolicies) List(ctx context.Context) ([]*Policy, error) {
	return get(ctx, managed.account, func(s *state) ([]*Policy, error) { return sorted(s.policies), nil })
}

func (t *tx) editPolicy(arn string) (*Policy, error) {
	old, err := t.policy(arn)
	if err != nil {
		return nil, err
	}
	if old.AWSManaged() {
		return nil, invalid("Policy %s is managed by AWS and cannot be changed.", arn)
	}
	p := edit(old)
	t.put(p)
	return p, nil
}

// CreateVersion adds a version to a managed policy and makes it the
// default if setDefault is true.
func (managed *ManagedPolicies) CreateVersion(
	ctx context.Context,
	arn, document string,
	setDefault bool,
) (*PolicyVersion, error) {
	var out *PolicyVersion
	err := managed.update(ctx, func(t *tx) error {
		p, err := t.editPolicy(arn)
		if err != nil {
			return err
		}
		if err := t.checkManaged(document); err != nil {
			return err
		}
		if len(p.Versions) >= maxVersions {
			return limit(
				"A managed policy can have up to %d versions. Before you create a new version, you must delete an existing "+
					"version.",
				maxVersions,
			)
		}
		out = &PolicyVersion{ID: "v" + strconv.Itoa(p.NextVersion), Document: document, Created: t.now}
		p.NextVersion++
		p.Versions = append(p.Versions, *out)
		p.Updated = t.now
		if setDefault {
			p.Default = out.ID
		}
		return nil
	})
	return out, err
}

// SetDefaultVersion makes a version the default.
func (managed *ManagedPolicies) SetDefaultVersion(ctx context.Context, arn, version string) error {
	return managed.update(ctx, func(t *tx) error {
		p, err := t.editPolicy(arn)
		if err != nil {
			return err
		}
		if p.Version(version) == nil {
			return noVersion(arn, version)
		}
		p.Default, p.Updated = version, t.now
		return nil
	})
}

func noVersion(arn, version string) error {
	return notFound("Policy %s version %s does not exist or is not attachable.", arn, printable(version))
}

// DeleteVersion removes a version other than the default.
func (managed *ManagedPolicies) DeleteVersion(ctx context.Context, arn, version string) error {
	return managed.update(ctx, func(t *tx) error {
		p, err := t.editPolicy(arn)
		if err != nil {
			return err
		}
		switch {
		case p.Version(version) == nil:
			return noVersion(arn, version)
		case p.Default == version:
			return inUse("Cannot delete the default version of a policy.")
		}
		p.Versions = slices.DeleteFunc(p.Versions, func(v PolicyVersion) bool { return v.ID == version })
		p.Updated = t.now
		return nil
	})
}

// Delete removes an unused policy with a single version.
func (managed *ManagedPolicies) Delete(ctx context.Context, arn string) error {
	return managed.update(ctx, func(t *tx) error {
		p, err := t.policy(arn)
		if err != nil {
			return err
		}
		if p.AWSManaged() {
			return invalid("Policy %s is managed by AWS and cannot be changed.", arn)
		}
		if n, b := t.uses(arn); n+b > 0 {
			return inUse("Cannot delete a policy attached to entities.")
		}
		if len(p.Versions) > 1 {
			return inUse(
				"This policy has more than one version. Before you delete a policy, you must delete the policy's versions. " +
					"The default version is deleted with the policy.",
			)
		}
		t.drop(p)
		return nil
	})
}

// uses counts the attachments of a policy, and how often it is a boundary.
func (s *state) uses(arn string) (attached, boundaries int) {
	for _, h := range s.holders {
		if slices.Contains(h.Attached, arn) {
			attached++
		}
		if h.Boundary == arn {
			boundaries++
		}
	}
	return attached, boundaries
}

// Uses counts, for every policy in use, its attachments and its uses as
// a boundary.
func (managed *ManagedPolicies) Uses(ctx context.Context) (attached, boundaries map[string]int, err error) {
	attached, boundaries = map[string]int{}, map[string]int{}
	err = managed.read(ctx, func(s *state) error {
		for _, h := range s.holders {
			for _, arn := range h.Attached {
				attached[arn]++
			}
			if h.Boundary != "" {
				boundaries[h.Boundary]++
			}
		}
		return nil
	})
	return attached, boundaries, err
}

// Attachment is one holder of a managed policy.
type Attachment struct {
	Kind     Kind
	Holder   *Holder
	Boundary bool // as its boundary, not as a policy
}

// Holders returns the users, groups and roles with a managed policy, by
// kind and name.
func (managed *ManagedPolicies) Holders(ctx context.Context, arn string) ([]Attachment, error) {
	out, err := get(ctx, managed.account, func(s *state) (out []Attachment, err error) {
		if _, err := s.policy(arn); err != nil {
			return nil, err
		}
		for kind, h := range s.holders {
			if slices.Contains(h.Attached, arn) {
				out = append(out, Attachment{Kind: kind, Holder: h})
			}
			if h.Boundary == arn {
				out = append(out, Attachment{Kind: kind, Holder: h, Boundary: true})
			}
		}
		return out, nil
	})
	slices.SortFunc(out, func(a, b Attachment) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Holder.Name, b.Holder.Name))
	})
	return out, err
}

// Attach attaches a managed policy to a user, group or role.
func (holders *Holders) Attach(ctx context.Context, kind Kind, name, arn string) error {
	return holders.update(ctx, func(t *tx) error {
		_, have, err := t.holder(kind, name)
		if err != nil {
			return err
		}
		if t.policies[arn] == nil {
			return notFound("Policy %s does not exist or is not attachable.", printable(arn))
		}
		if slices.Contains(have.Attached, arn) {
			return nil
		}
		if len(have.Attached) >= maxAttached {
			return limit("Cannot exceed quota for PoliciesPer%s: %d", title(kind), maxAttached)
		}
		h, err := t.editHolder(kind, name)
		if err != nil {
			return err
		}
		h.Attached = append(h.Attached, arn)
		return nil
	})
}

// Detach detaches a managed policy.
func (holders *Holders) Detach(ctx context.Context, kind Kind, name, arn string) error {
	return holders.update(ctx, func(t *tx) error {
		h, err := t.editHolder(kind, name)
		if err != nil {
			return err
		}
		i := slices.Index(h.Attached, arn)
		if i < 0 {
			return notFound("Policy %s was not found.", printable(arn))
		}
		h.Attached = slices.Delete(h.Attached, i, i+1)
		return nil
	})
}

func title(kind Kind) string {
	return strings.ToUpper(string(kind[:1])) + string(kind[1:])
}

// PutInline writes an inline policy, replacing one of the same name.
func (holders *Holders) PutInline(ctx context.Context, kind Kind, name, policyName, document string) error {
	return holders.update(ctx, func(t *tx) error {
		if err := checkName("policyName", policyName, 128); err != nil {
			return err
		}
		h, err := t.editHolder(kind, name)
		if err != nil {
			return err
		}
		if err := t.checkDocument(document, policy.KindIdentity); err != nil {
			return err
		}
		if h.Inline == nil {
			h.Inline = map[string]string{}
		}
		h.Inline[policyName] = document
		size := 0
		for _, text := range h.Inline {
			size += policy.Size([]byte(text))
		}
		if most := maxInline[kind]; size > most {
			return limit("Maximum policy size of %d bytes exceeded for %s %s", most, kind, name)
		}
		return nil
	})
}

// DeleteInline removes an inline policy.
func (holders *Holders) DeleteInline(ctx context.Context, kind Kind, name, policyName string) error {
	return holders.update(ctx, func(t *tx) error {
		h, err := t.editHolder(kind, name)
		if err != nil {
			return err
		}
		if _, ok := h.Inline[policyName]; !ok {
			return notFound("The %s policy with name %s cannot be found.", kind, printable(policyName))
		}
		delete(h.Inline, policyName)
		return nil
	})
}

// Get returns the common part of a user, group or role.
func (holders *Holders) Get(ctx context.Context, kind Kind, name string) (*Holder, error) {
	return get(ctx, holders.account, func(s *state) (*Holder, error) {
		_, h, err := s.holder(kind, name)
		return h, err
	})
}

// SetBoundary sets a user's or role's permissions boundary; an empty ARN
// removes it.
func (holders *Holders) SetBoundary(ctx context.Context, kind Kind, name, arn string) error {
	return holders.update(ctx, func(t *tx) error {
		h, err := t.editHolder(kind, name)
		if err != nil {
			return err
		}
		if arn == "" && h.Boundary == "" {
			return notFound("%s %s does not have a permissions boundary.", title(kind), name)
		}
		h.Boundary, err = t.boundary(arn)
		return err
	})
}

// boundary checks the ARN of a permissions boundary; empty means none.
func (t *tx) boundary(arn string) (string, error) {
	if arn == "" || t.policies[arn] != nil {
		return arn, nil
	}
	return "", notFound("Policy %s does not exist or is not attachable.", printable(arn))
}

// Of returns the tags of an object.
func (all *Tags) Of(ctx context.Context, kind Kind, name string) (map[string]string, error) {
	return get(ctx, all.account, func(s *state) (map[string]string, error) {
		_, tags, err := s.tagged(kind, name)
		if err != nil {
			return nil, err
		}
		return maps.Clone(*tags), nil
	})
}

// tagged finds an object with tags. Policies are named by ARN, devices by
// serial number, others by name.
func (s *state) tagged(kind Kind, name string) (entity, *map[string]string, error) {
	switch kind {
	case KindInstanceProfile:
		p, err := s.profile(name)
		if err != nil {
			return nil, nil, err
		}
		return p, &p.Tags, nil
	case KindPolicy:
		p, err := s.policy(name)
		if err != nil {
			return nil, nil, err
		}
		return p, &p.Tags, nil
	case KindMFADevice:
		m, err := s.device(name)
		if err != nil {
			return nil, nil, err
		}
		return m, &m.Tags, nil
	case KindUser, KindGroup, KindRole:
	}
	e, h, err := s.holder(kind, name)
	if err != nil {
		return nil, nil, err
	}
	return e, &h.Tags, nil
}

func (t *tx) editTags(kind Kind, name string) (*map[string]string, error) {
	e, _, err := t.tagged(kind, name)
	if err != nil {
		return nil, err
	}
	switch e := e.(type) {
	case *InstanceProfile:
		c := edit(e)
		t.put(c)
		return &c.Tags, nil
	case *Policy:
		c, err := t.editPolicy(name)
		if err != nil {
			return nil, err
		}
		return &c.Tags, nil
	case *MFADevice:
		c := edit(e)
		t.put(c)
		return &c.Tags, nil
	}
	h, err := t.editHolder(kind, name)
	if err != nil {
		return nil, err
	}
	return &h.Tags, nil
}

// Add adds tags to an object.
func (all *Tags) Add(ctx context.Context, kind Kind, name string, set map[string]string) error {
	return all.update(ctx, func(t *tx) error {
		tags, err := t.editTags(kind, name)
		if err != nil {
			return err
		}
		*tags, err = mergeTags(*tags, set)
		return err
	})
}

// Remove removes tags from an object, by key in any letter case.
func (all *Tags) Remove(ctx context.Context, kind Kind, name string, keys []string) error {
	return all.update(ctx, func(t *tx) error {
		tags, err := t.editTags(kind, name)
		if err != nil {
			return err
		}
		for have := range *tags {
			if slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, have) }) {
				delete(*tags, have)
			}
		}
		return nil
	})
}
