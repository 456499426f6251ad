package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sekisho"
	"sekisho/internal/ratelimit"
	"sekisho/internal/safetext"
)

// A program signs in as in RFC 8628: it gets a secret device code, shows its user
// a short code, and polls while the user approves the code in a browser where they
// are signed in. A program that can receive the browser's answer on this machine
// names a port of the loopback interface; then it needs a third code, which only
// the approving browser delivers, so that nobody can be talked into approving the
// program of somebody else.

const (
	// programTime bounds the time between the request and its approval.
	programTime = 10 * time.Minute
	// pollInterval is how often a program may ask whether it was approved.
	pollInterval = 2 * time.Second
	// userCodeLetters are hard to confuse and spell no words: there are no vowels.
	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLength  = 8

	maxProgramName = 64

	unknownProgram = "This code is unknown or has expired. Start the sign-in again in the program."
)

// programState says what became of a request.
type programState string

const (
	programWaiting  programState = "waiting"
	programApproved programState = "approved"
	programRefused  programState = "refused"
)

// program is the request of a program to sign in, as the store keeps it under the
// hash of its device code.
type program struct {
	Program   bool            `json:"program"` // tells it from a browser's sign-in
	UserCode  string          `json:"user_code"`
	Name      string          `json:"name"` // what the program says of itself
	Source    netip.Addr      `json:"source"`
	Port      int             `json:"port"` // 0 if the program cannot receive the browser's answer
	Created   time.Time       `json:"created"`
	State     programState    `json:"state"`
	Grant     json.RawMessage `json:"grant,omitempty"`
	BrowserID []byte          `json:"browser,omitempty"` // hash of the code that the browser delivers
}

// programCode is what the store keeps under the hash of a user code.
type programCode struct {
	Device []byte `json:"device"` // hash of the device code
}

func (p *program) encode() []byte {
	b, err := json.Marshal(p)
	if err != nil { // strings, numbers and times always marshal
		panic(err)
	}
	return b
}

// readProgram returns the request under a hash, or CodeNotFound.
func (c *Console) readProgram(ctx context.Context, hash []byte, now time.Time) (*program, error) {
	b, err := c.cfg.Store.ConsoleSignIn(ctx, hash)
	if err != nil {
		return nil, err
	}
	var p program
	if err := json.Unmarshal(b, &p); err != nil || !p.Program || now.Sub(p.Created) >= programTime {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "%s", unknownProgram)
	}
	return &p, nil
}

func userCodeHash(code string) []byte {
	sum := sha256.Sum256([]byte("sekisho user code v1\x00" + code))
	return sum[:]
}

// newUserCode returns a code without its hyphen.
func newUserCode() string {
	var b strings.Builder
	for b.Len() < userCodeLength {
		var r [1]byte
		rand.Read(r[:])
		if int(r[0]) < 256/len(userCodeLetters)*len(userCodeLetters) { // no letter is likelier than another
			b.WriteByte(userCodeLetters[int(r[0])%len(userCodeLetters)])
		}
	}
	return b.String()
}

// canonicalCode removes what people add to a code when they type it.
func canonicalCode(typed string) string {
	return strings.NewReplacer("-", "", " ", "").Replace(strings.ToUpper(typed))
}

// beginProgram answers a program with its codes.
func (c *Console) beginProgram(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name string `json:"name"`
		Port int    `json:"port"`
	}
	if err := readJSON(w, r, &in); err != nil || in.Port < 0 || in.Port > 65535 {
		refuse(w, http.StatusBadRequest, "The request is not the sign-in of a program.")
		return
	}
	now, source := time.Now(), c.cfg.SourceIP(r)
	if !c.allowBegun(w, r, begunProgram, now) {
		return
	}
	device, hash := newToken()
	p := &program{
		Program: true, UserCode: newUserCode(), Name: safetext.Line(in.Name, maxProgramName),
		Source: source, Port: in.Port, Created: now, State: programWaiting,
	}
	reference, err := json.Marshal(programCode{hash})
	if err == nil {
		err = c.cfg.Store.PutConsoleSignIn(r.Context(), hash, p.encode(), now.Add(programTime), now)
	}
	if err == nil {
		err = c.cfg.Store.PutConsoleSignIn(r.Context(), userCodeHash(p.UserCode), reference, now.Add(programTime), now)
	}
	if err != nil {
		c.fail(w, r, "store the sign-in of a program", err)
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"deviceCode": encodeToken(device),
		"userCode":   p.UserCode[:4] + "-" + p.UserCode[4:],
		"interval":   int(pollInterval / time.Second),
		"expires":    now.Add(programTime).UTC(),
	})
}

// programCredentials answers a program that polls: still waiting, refused, or with
// credentials, which it gets once.
func (c *Console) programCredentials(w http.ResponseWriter, r *http.Request) {
	var in struct {
		DeviceCode  string `json:"deviceCode"`
		BrowserCode string `json:"browserCode"`
		Seconds     int    `json:"seconds"`
	}
	if err := readJSON(w, r, &in); err != nil {
		refuse(w, http.StatusBadRequest, "The request is not the sign-in of a program.")
		return
	}
	ctx, now, source := r.Context(), time.Now(), c.cfg.SourceIP(r)
	e := AuditEvent{Time: now, Name: "ConsoleLogin", SourceIP: source, UserAgent: r.UserAgent()}
	_, hash, ok := parseToken(in.DeviceCode)
	var p *program
	var err error
	if ok {
		p, err = c.readProgram(ctx, hash, now)
	}
	if p == nil {
		if err != nil && sekisho.CodeOf(err) == sekisho.CodeInternal {
			c.fail(w, r, "read the sign-in of a program", err)
			return
		}
		if wait, ok := c.begunBySource.Reserve(begunFrom{begunProgram, ratelimit.Source(source)}); !ok {
			c.tooMany(w, r, e, wait)
			return
		}
		refuse(w, http.StatusNotFound, unknownProgram)
		return
	}
	if wait, ok := c.polls.Reserve([sha256.Size]byte(hash)); !ok {
		refuseFor(w, wait)
		return
	}
	browser := sha256.Sum256([]byte(in.BrowserCode))
	switch {
	case p.State == programRefused:
		refuse(w, http.StatusForbidden, "The sign-in was refused in the browser.")
		return
	case p.State != programApproved,
		p.Port != 0 && subtle.ConstantTimeCompare(browser[:], p.BrowserID) != 1:
		answer(w, http.StatusAccepted, map[string]any{"message": "Waiting for approval in the browser."})
		return
	}
	who, err := c.cfg.Directory.Granted(ctx, p.Grant)
	if err != nil {
		e.Failure = "the sign-in that approved the program has ended"
		c.audit(r, e)
		refuse(w, http.StatusForbidden, "The sign-in that approved this program has ended. Start again.")
		return
	}
	creds, err := c.cfg.Credentials.OfSignIn(p.Grant, time.Duration(in.Seconds)*time.Second)
	switch {
	case sekisho.CodeOf(err) == sekisho.CodeInternal:
		c.fail(w, r, "issue credentials for a program", err)
		return
	case err != nil: // the program can ask again with another duration
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	// Other requests with this code, here or on another server, may have come as far: only the one
	// that deletes the request gets credentials.
	redeemed, err := c.cfg.Store.DeleteConsoleSignIn(ctx, hash)
	if err != nil {
		c.fail(w, r, "end the sign-in of a program", err)
		return
	}
	if !redeemed {
		refuse(w, http.StatusNotFound, unknownProgram)
		return
	}
	who.AccessKeyID = creds.AccessKeyID
	e.Principal, e.User, e.MFAUsed = who, displayName(who), !who.MFATime.IsZero()
	if err := c.cfg.Audit.ConsoleEvent(ctx, e); err != nil {
		c.fail(w, r, "audit the sign-in of a program", err)
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"accessKeyId": creds.AccessKeyID, "secretAccessKey": creds.SecretAccessKey,
		"sessionToken": creds.SessionToken, "expires": creds.Expiration,
	})
}

// findProgram returns the request with the user code that a signed-in user
// typed. If ok is false, it has already answered the request.
func (c *Console) findProgram(
	w http.ResponseWriter,
	r *http.Request,
	who *caller,
	typed string,
) (p *program, hash []byte, ok bool) {
	if wait, ok := c.lookups.Reserve(who.principal.UserID); !ok {
		refuseFor(w, wait)
		return nil, nil, false
	}
	now := time.Now()
	b, err := c.cfg.Store.ConsoleSignIn(r.Context(), userCodeHash(canonicalCode(typed)))
	if err == nil {
		var ref programCode
		if err = json.Unmarshal(b, &ref); err == nil {
			hash = ref.Device
			p, err = c.readProgram(r.Context(), hash, now)
		}
	}
	switch {
	case sekisho.IsNotFound(err), err == nil && p.State != programWaiting:
		refuse(w, http.StatusNotFound, unknownProgram)
		return nil, nil, false
	case err != nil:
		c.fail(w, r, "read the sign-in of a program", err)
		return nil, nil, false
	}
	return p, hash, true
}

// programAnswer is what the page shows before the user decides.
type programAnswer struct {
	Name    string    `json:"name"`
	Source  string    `json:"source"`
	Same    bool      `json:"same"` // the program and the browser have the same address
	Local   bool      `json:"local"`
	Created time.Time `json:"created"`
}

// showProgram shows a signed-in user which program a code belongs to.
func (c *Console) showProgram(w http.ResponseWriter, r *http.Request) {
	who, ok := c.requireOwn(w, r)
	if !ok {
		return
	}
	var in struct {
		Code string `json:"code"`
	}
	if err := readJSON(w, r, &in); err != nil {
		refuse(w, http.StatusBadRequest, "The request is not a code.")
		return
	}
	p, _, ok := c.findProgram(w, r, who, in.Code)
	if !ok {
		return
	}
	answer(w, http.StatusOK, programAnswer{
		Name: p.Name, Source: p.Source.String(), Same: p.Source == c.cfg.SourceIP(r), Local: p.Port != 0,
		Created: p.Created.UTC(),
	})
}

// approveProgram gives a program the identity of the signed-in user, or refuses it.
func (c *Console) approveProgram(w http.ResponseWriter, r *http.Request) {
	who, ok := c.requireOwn(w, r)
	if !ok {
		return
	}
	var in struct {
		Code    string `json:"code"`
		Approve bool   `json:"approve"`
	}
	if err := readJSON(w, r, &in); err != nil {
		refuse(w, http.StatusBadRequest, "The request is not a decision.")
		return
	}
	ctx := r.Context()
	first, err := c.cfg.Directory.FirstRun(ctx, who.principal.UserID)
	var reset bool
	if err == nil {
		reset, err = c.cfg.Directory.PasswordReset(ctx, who.principal)
	}
	if err != nil {
		c.fail(w, r, "read the state of the account", err)
		return
	}
	if first || reset {
		refuse(w, http.StatusForbidden, "Complete your sign-in first: change the password or choose a second factor.")
		return
	}
	p, hash, ok := c.findProgram(w, r, who, in.Code)
	if !ok {
		return
	}
	// The decision of the request that deletes the code is the only one.
	decides, err := c.cfg.Store.DeleteConsoleSignIn(ctx, userCodeHash(p.UserCode))
	if err != nil {
		c.fail(w, r, "end a code", err)
		return
	}
	if !decides {
		refuse(w, http.StatusNotFound, unknownProgram)
		return
	}
	e := AuditEvent{
		Time: time.Now(), Name: "ConsoleProgramApproved", Principal: who.principal, User: displayName(who.principal),
		SourceIP: c.cfg.SourceIP(r), UserAgent: r.UserAgent(), MFAUsed: !who.principal.MFATime.IsZero(),
	}
	var redirect string
	p.State = programRefused
	if in.Approve {
		p.State, p.Grant = programApproved, who.signIn.Grant
		if p.Port != 0 {
			code, _ := newToken()
			text := encodeToken(code)
			sum := sha256.Sum256([]byte(text))
			p.BrowserID = sum[:]
			redirect = "http://127.0.0.1:" + strconv.Itoa(p.Port) + "/?" + url.Values{"code": {text}}.Encode()
		}
	} else {
		e.Failure = "refused by the user"
	}
	if err := c.cfg.Audit.ConsoleEvent(ctx, e); err != nil {
		c.fail(w, r, "audit the approval of a program", err)
		return
	}
	if err := c.cfg.Store.UpdateConsoleSignIn(ctx, hash, p.encode()); err != nil {
		c.fail(w, r, "store the approval of a program", err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"redirect": redirect})
}
