package identity

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/storage/keyring"
)

// staleLimit is the default of Config.StaleLimit.
const staleLimit = 10 * time.Second

// commitAttempts bounds how often a write is retried because another member
// wrote first.
const commitAttempts = 20

// account is the state of the account, which the parts of a [Directory] share.
type account struct {
	id      string // 12 digits
	store   Store
	ring    *keyring.Ring
	refresh time.Duration
	limit   time.Duration // Config.StaleLimit
	now     func() time.Time

	write sync.Mutex

	mu        sync.RWMutex
	st        *state
	refreshed time.Time
}

// newAccount loads the account.
func newAccount(ctx context.Context, c Config) (*account, error) {
	a := &account{
		id: c.Account, store: c.Store, ring: c.Keyring, refresh: c.Refresh,
		limit: cmp.Or(c.StaleLimit, staleLimit), now: c.Now, st: newState(c.Account),
	}
	if a.refresh == 0 {
		a.refresh = time.Second
	}
	if a.now == nil {
		a.now = time.Now
	}
	managed, err := awsManaged()
	if err != nil {
		return nil, err
	}
	for _, p := range managed {
		a.st.policies[p.ARN] = p
	}
	a.write.Lock()
	defer a.write.Unlock()
	if err := a.reload(ctx); err != nil {
		return nil, err
	}
	return a, nil
}

// reload brings the state up to the newest generation. The caller holds write.
func (a *account) reload(ctx context.Context) error {
	// A slow store answers with the state of some time after this.
	asked := a.now()
	objects, newest, err := a.store.Changes(ctx, a.st.generation)
	if err != nil {
		return fmt.Errorf("read the directory: %w", err)
	}
	entities := make([]entity, len(objects))
	for i, o := range objects {
		if o.Deleted {
			continue
		}
		e := newEntity(o.Kind)
		if e == nil {
			return fmt.Errorf("read the directory: unknown kind %q", o.Kind)
		}
		if err := json.Unmarshal(o.Body, e); err != nil {
			return fmt.Errorf("read the directory: %s %s: %w", o.Kind, o.Key, err)
		}
		entities[i] = e
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.st.apply(objects, entities)
	a.st.generation, a.refreshed = newest, asked
	return nil
}

// apply applies objects. It removes before it adds, because a renamed entity is in objects twice.
func (s *state) apply(objects []Object, entities []entity) {
	for i, o := range objects {
		if entities[i] == nil {
			s.remove(o.Kind, o.Key)
		}
	}
	for _, e := range entities {
		if e != nil {
			s.put(e)
		}
	}
}

// fresh brings the state up to date if it is older than refresh. One caller
// reads the store while the others use the present state, unless it is older
// than the limit.
func (a *account) fresh(ctx context.Context) error {
	if a.youngerThan(a.refresh) {
		return nil
	}
	if !a.youngerThan(a.limit) {
		a.write.Lock()
	} else if !a.write.TryLock() {
		return nil
	}
	defer a.write.Unlock()
	if a.youngerThan(a.refresh) { // another caller has read the store meanwhile
		return nil
	}
	// A store that hangs must not keep all callers waiting.
	bounded, cancel := context.WithTimeout(ctx, a.limit)
	defer cancel()
	err := a.reload(bounded)
	if err == nil || a.youngerThan(a.limit) {
		return nil
	}
	return sekisho.Errorf(sekisho.CodeUnavailable,
		"The server cannot confirm that its users and policies are current: the database has not answered for %s: %w",
		a.limit, err).WithHint("Retry in a few seconds.")
}

// youngerThan reports whether the state was read within the last d. A clock that
// was set back says nothing about that.
func (a *account) youngerThan(d time.Duration) bool {
	a.mu.RLock()
	defer a.mu.RUnlock()
	age := a.now().Sub(a.refreshed)
	return age < d && age > -a.limit
}

// read calls f with the present state; f must not keep the state or its maps,
// but may keep the entities.
func (a *account) read(ctx context.Context, f func(s *state) error) error {
	if err := a.fresh(ctx); err != nil {
		return err
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	return f(a.st)
}

// user returns a user by name.
func (a *account) user(ctx context.Context, name string) (*User, error) {
	return get(ctx, a, func(s *state) (*User, error) { return s.user(name) })
}

// arn returns the ARN of an object of the account.
func (a *account) arn(what, path, name string) string {
	return "arn:aws:iam::" + a.id + ":" + what + path + name
}

// get is read for one value.
func get[T any](ctx context.Context, a *account, f func(s *state) (T, error)) (T, error) {
	var out T
	err := a.read(ctx, func(s *state) (err error) {
		out, err = f(s)
		return err
	})
	return out, err
}

// tx collects the changes of one write. It reads the state as it was before
// the write.
type tx struct {
	*state
	acct    *account
	now     time.Time
	changed []entity
	removed []entity
}

func (t *tx) put(e entity) { t.changed = append(t.changed, e) }
func (t *tx) drop(e entity) {
	t.removed = append(t.removed, e)
}

// update runs f and commits its changes atomically. f can run several times, and must have no
// effects outside its tx.
func (a *account) update(ctx context.Context, f func(t *tx) error) error {
	a.write.Lock()
	defer a.write.Unlock()
	for range commitAttempts {
		// Only holders of write replace entities, so f can read without mu.
		t := &tx{state: a.st, acct: a, now: a.now().UTC().Truncate(time.Second)}
		if err := f(t); err != nil {
			return a.retryAfterReload(ctx, err, f)
		}
		done, err := a.commit(ctx, t)
		if err != nil || done {
			return err
		}
		if err := a.reload(ctx); err != nil {
			return err
		}
	}
	return sekisho.Errorf(sekisho.CodeThrottled, "Too many concurrent changes to the directory. Retry the request.")
}

// retryAfterReload retries a refused write if another member has written since
// the last reload: the object it did not find may exist now.
func (a *account) retryAfterReload(ctx context.Context, refused error, f func(t *tx) error) error {
	before := a.st.generation
	if err := a.reload(ctx); err != nil {
		return errors.Join(refused, err)
	}
	if a.st.generation == before {
		return refused
	}
	t := &tx{state: a.st, acct: a, now: a.now().UTC().Truncate(time.Second)}
	if err := f(t); err != nil {
		return err
	}
	done, err := a.commit(ctx, t)
	if err != nil || done {
		return err
	}
	return sekisho.Errorf(sekisho.CodeThrottled, "Too many concurrent changes to the directory. Retry the request.")
}

func (a *account) commit(ctx context.Context, t *tx) (bool, error) {
	if len(t.changed)+len(t.removed) == 0 {
		return true, nil
	}
	var objects []Object
	var entities []entity
	put := map[objectName]bool{}
	for _, e := range t.changed {
		body, err := json.Marshal(e)
		if err != nil {
			return false, fmt.Errorf("write the directory: %w", err)
		}
		put[objectName{e.kind(), e.key()}] = true
		objects = append(objects, Object{Kind: e.kind(), Key: e.key(), Body: body})
		entities = append(entities, e)
	}
	for _, e := range t.removed {
		if put[objectName{e.kind(), e.key()}] { // renamed in letter case only
			continue
		}
		objects = append(objects, Object{Kind: e.kind(), Key: e.key(), Deleted: true})
		entities = append(entities, nil)
	}
	base := a.st.generation
	done, err := a.store.Commit(ctx, base, objects)
	if err != nil {
		return false, fmt.Errorf("write the directory: %w", err)
	}
	if !done {
		return false, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.st.apply(objects, entities)
	a.st.generation = base + 1
	return true, nil
}

type objectName struct {
	kind Kind
	key  string
}

// edit returns a private copy of e for a tx to change and put.
func edit[T any](e *T) *T {
	body, err := json.Marshal(e)
	if err != nil { // cannot fail: entities are JSON values
		panic(err)
	}
	out := new(T)
	if err := json.Unmarshal(body, out); err != nil {
		panic(err)
	}
	return out
}

// editUser returns a copy of a user that the transaction stores.
func (t *tx) editUser(name string) (*User, error) {
	old, err := t.user(name)
	if err != nil {
		return nil, err
	}
	u := edit(old)
	t.put(u)
	return u, nil
}

// editHolder is edit for a user, group or role.
func (t *tx) editHolder(kind Kind, name string) (*Holder, error) {
	e, _, err := t.holder(kind, name)
	if err != nil {
		return nil, err
	}
	switch e := e.(type) {
	case *User:
		c := edit(e)
		t.put(c)
		return &c.Holder, nil
	case *Group:
		c := edit(e)
		t.put(c)
		return &c.Holder, nil
	case *Role:
		c := edit(e)
		t.put(c)
		return &c.Holder, nil
	}
	return nil, notFound("A %s cannot have policies.", kind)
}
