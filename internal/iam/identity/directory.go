package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"sekisho"
	"sekisho/internal/storage/keyring"
)

// Config is what a Directory needs.
type Config struct {
	Store   Store
	Keyring *keyring.Ring
	Account string // 12 digits
	// Refresh bounds how stale the view of other members' writes may be; zero
	// means one second.
	Refresh time.Duration
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// staleLimit is how long the directory answers from memory while the store
// cannot be read. After that it refuses all callers.
const staleLimit = 10 * time.Second

// commitAttempts bounds how often a write is retried because another member
// wrote first.
const commitAttempts = 20

// Directory holds the account's users, groups, roles, policies and credentials.
type Directory struct {
	store   Store
	ring    *keyring.Ring
	account string
	refresh time.Duration
	now     func() time.Time

	write sync.Mutex

	mu        sync.RWMutex
	st        *state
	refreshed time.Time

	compiled compiledSets
	lockouts *lockouts
	hashing  chan struct{} // bounds how many passwords are hashed at once

	usesMu sync.Mutex
	uses   map[string]Use
}

// New loads the directory.
func New(ctx context.Context, c Config) (*Directory, error) {
	if len(c.Account) != 12 {
		return nil, sekisho.Errorf(sekisho.CodeInvalid, "the account ID %q does not have 12 digits", c.Account)
	}
	d := &Directory{
		store: c.Store, ring: c.Keyring, account: c.Account, refresh: c.Refresh, now: c.Now,
		st: newState(c.Account), hashing: make(chan struct{}, hashesAtOnce), uses: map[string]Use{},
	}
	if d.refresh == 0 {
		d.refresh = time.Second
	}
	if d.now == nil {
		d.now = time.Now
	}
	d.lockouts = newLockouts(d.now)
	managed, err := awsManaged()
	if err != nil {
		return nil, err
	}
	for _, p := range managed {
		d.st.policies[p.ARN] = p
	}
	d.write.Lock()
	defer d.write.Unlock()
	if err := d.reload(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// Account returns the account ID.
func (d *Directory) Account() string { return d.account }

// reload brings the state up to the newest generation. The caller holds write.
func (d *Directory) reload(ctx context.Context) error {
	objects, newest, err := d.store.Changes(ctx, d.st.generation)
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
	d.mu.Lock()
	defer d.mu.Unlock()
	d.st.apply(objects, entities)
	d.st.generation, d.refreshed = newest, d.now()
	return nil
}

// apply removes first: an entity that was renamed is in objects twice.
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
// than staleLimit.
func (d *Directory) fresh(ctx context.Context) error {
	d.mu.RLock()
	age := d.now().Sub(d.refreshed)
	d.mu.RUnlock()
	if age < d.refresh && age > -staleLimit {
		return nil
	}
	if age > staleLimit || age <= -staleLimit {
		d.write.Lock()
	} else if !d.write.TryLock() {
		return nil
	}
	defer d.write.Unlock()
	err := d.reload(ctx)
	if err != nil && age <= staleLimit && age > -staleLimit {
		return nil
	}
	return err
}

// read calls f with the present state; f must not keep the state or its maps,
// but may keep the entities.
func (d *Directory) read(ctx context.Context, f func(s *state) error) error {
	if err := d.fresh(ctx); err != nil {
		return err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return f(d.st)
}

// get is read for one value.
func get[T any](ctx context.Context, d *Directory, f func(s *state) (T, error)) (T, error) {
	var out T
	err := d.read(ctx, func(s *state) (err error) {
		out, err = f(s)
		return err
	})
	return out, err
}

// tx collects the changes of one write. It reads the state as it was before
// the write.
type tx struct {
	*state
	d       *Directory
	now     time.Time
	changed []entity
	removed []entity
}

func (t *tx) put(e entity) { t.changed = append(t.changed, e) }
func (t *tx) drop(e entity) {
	t.removed = append(t.removed, e)
}

// update runs f and commits what it changed, all or nothing. f may run
// several times, and must have no effect but on its tx.
func (d *Directory) update(ctx context.Context, f func(t *tx) error) error {
	d.write.Lock()
	defer d.write.Unlock()
	for range commitAttempts {
		// Only holders of write replace entities, so that f reads without mu.
		t := &tx{state: d.st, d: d, now: d.now().UTC().Truncate(time.Second)}
		if err := f(t); err != nil {
			return d.retryAfterReload(ctx, err, f)
		}
		done, err := d.commit(ctx, t)
		if err != nil || done {
			return err
		}
		if err := d.reload(ctx); err != nil {
			return err
		}
	}
	return sekisho.Errorf(sekisho.CodeThrottled, "Too many concurrent changes to the directory. Retry the request.")
}

// retryAfterReload retries a refused write if another member has written since
// the last reload: the object it did not find may exist now.
func (d *Directory) retryAfterReload(ctx context.Context, refused error, f func(t *tx) error) error {
	before := d.st.generation
	if err := d.reload(ctx); err != nil {
		return errors.Join(refused, err)
	}
	if d.st.generation == before {
		return refused
	}
	t := &tx{state: d.st, d: d, now: d.now().UTC().Truncate(time.Second)}
	if err := f(t); err != nil {
		return err
	}
	done, err := d.commit(ctx, t)
	if err != nil || done {
		return err
	}
	return sekisho.Errorf(sekisho.CodeThrottled, "Too many concurrent changes to the directory. Retry the request.")
}

func (d *Directory) commit(ctx context.Context, t *tx) (bool, error) {
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
	base := d.st.generation
	done, err := d.store.Commit(ctx, base, objects)
	if err != nil {
		return false, fmt.Errorf("write the directory: %w", err)
	}
	if !done {
		return false, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.st.apply(objects, entities)
	d.st.generation = base + 1
	return true, nil
}

type objectName struct {
	kind Kind
	key  string
}

// edit returns a private copy of e for a tx to change and put.
func edit[T any](e *T) *T {
	body, err := json.Marshal(e)
	if err != nil { // it was unmarshalled from JSON, or will be marshalled
		panic(err)
	}
	out := new(T)
	if err := json.Unmarshal(body, out); err != nil {
		panic(err)
	}
	return out
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
	return nil, notFound("No %s holds policies.", kind)
}
