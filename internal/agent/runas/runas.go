// Package runas determines the OS user of a session, and starts processes with only that user's
// IDs, groups, home directory and environment.
//
// # Rules
//
// An agent that runs as root never runs a session as root, except for commands of documents with
// runAsElevated. It runs a session as the user that the session names, who must exist, or otherwise
// as [DefaultUser], which it creates if missing, without a password or a sudoers file. It never
// silently falls back from one to the other. An agent that does not run as root runs every session
// as its own user and refuses any other name.
package runas

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sekisho"
)

// DefaultUser runs sessions that name no user. AWS's agent uses the same name.
const DefaultUser = "ssm-user"

// User is an OS user.
type User struct {
	Name   string
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary
	Home   string   // absolute path; might not exist
	Shell  string   // absolute
}

// Host is the machine's user database. The zero value is not usable: see
// [System].
type Host struct {
	Passwd string // path of the passwd file
	Group  string // path of the group file
	UID    int    // effective user ID of the agent
	// Lock is the path of a file that all agents on this machine lock while they look up and create
	// DefaultUser.
	Lock string
	// Run runs a program by its absolute path and returns its output. It is
	// used for users who are not in the files, and to create DefaultUser.
	Run func(ctx context.Context, path string, args ...string) ([]byte, error)
	// Find returns the absolute path of a system program, or "".
	Find func(name string) string
}

// System returns the user database of this machine.
func System() *Host {
	return &Host{
		Passwd: "/etc/passwd", Group: "/etc/group", UID: os.Geteuid(), Lock: "/run/sekisho-useradd.lock", Run: run,
		Find: find,
	}
}

func run(ctx context.Context, path string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + Path, "LANG=C"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && stderr.Len() > 0 {
		line, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		return out, fmt.Errorf("%w: %.200q", err, line)
	}
	return out, err
}

// find searches only the system's own directories, regardless of PATH.
func find(name string) string {
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// ValidName reports whether s can be a user name: up to 32 letters, digits and "._@-", optionally a final "$",
// beginning with a letter or "_". Such a name is neither a number, which system tools would interpret as a user ID, nor
// an option, nor special to a shell.
func ValidName(s string) bool {
	s = strings.TrimSuffix(s, "$")
	if s == "" || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
		case i > 0 && ('0' <= c && c <= '9' || c == '.' || c == '@' || c == '-'):
		default:
			return false
		}
	}
	return true
}

// Resolve returns the OS user of a session. wanted is the name that the session specifies, or "".
// The session's user sees its errors.
func (h *Host) Resolve(ctx context.Context, wanted string) (User, error) {
	if wanted != "" && !ValidName(wanted) {
		return User{}, sekisho.Errorf(sekisho.CodeInvalid, "%.64q is not a valid OS user name for run as.", wanted)
	}
	if h.UID != 0 {
		return h.own(ctx, wanted)
	}
	name, lookup := wanted, func() (User, error) { return h.lookup(ctx, wanted) }
	if wanted == "" {
		name, lookup = DefaultUser, func() (User, error) { return h.defaultUser(ctx) }
	}
	u, err := lookup()
	if sekisho.IsNotFound(err) {
		return User{}, sekisho.Errorf(
			sekisho.CodeNotFound,
			"The OS user %q that this session would run as does not exist on the node.",
			name,
		)
	}
	if err != nil {
		return User{}, err
	}
	if u.UID == 0 || u.GID == 0 {
		return User{}, sekisho.Errorf(
			sekisho.CodeDenied,
			"The OS user %q has user ID %d and group ID %d; sessions do not run as root.",
			name,
			u.UID,
			u.GID,
		)
	}
	return u, nil
}

// own returns the agent's own user.
func (h *Host) own(ctx context.Context, wanted string) (User, error) {
	u, err := h.lookupEntry(ctx, strconv.Itoa(h.UID), func(e entry) bool { return int(e.uid) == h.UID })
	if sekisho.IsNotFound(err) {
		// Containers can run under user IDs that are in no file.
		u, err = User{
			Name:  strconv.Itoa(h.UID),
			UID:   uint32(h.UID),
			GID:   uint32(os.Getegid()),
			Home:  "/",
			Shell: "/bin/sh",
		}, nil
	}
	if err != nil {
		return User{}, err
	}
	if wanted != "" && wanted != u.Name {
		return User{}, sekisho.Errorf(
			sekisho.CodeDenied,
			"This session would run as %q, but the node's agent runs as %q and cannot become another user.",
			wanted,
			u.Name,
		)
	}
	return u, nil
}

// defaultUser returns DefaultUser, and creates it if it is missing. It holds the lock throughout.
// If two useradd run at once, both succeed, but the user gets the ID of one and the home directory
// the ID of the other. Also, while useradd runs, the user exists before its home directory does.
func (h *Host) defaultUser(ctx context.Context) (User, error) {
	lock, lockErr := lockFile(h.Lock)
	if lockErr == nil {
		defer lock.Close() // unlocks
	}
	u, err := h.lookup(ctx, DefaultUser)
	if !sekisho.IsNotFound(err) {
		return u, err
	}
	if lockErr != nil {
		return User{}, cannotCreate(lockErr)
	}
	if err := h.create(ctx); err != nil {
		return User{}, err
	}
	return h.lookup(ctx, DefaultUser)
}

// lockFile waits for the exclusive lock of a file that only root can open. The wait is bounded by
// the time limit of useradd in run.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
	}
}

func cannotCreate(err error) error {
	return sekisho.Errorf(
		sekisho.CodeInternal,
		"The OS user %q does not exist, and creating it failed: %w.",
		DefaultUser,
		err,
	)
}

// create creates DefaultUser.
func (h *Host) create(ctx context.Context) error {
	useradd := h.Find("useradd")
	if useradd == "" {
		return sekisho.Errorf(sekisho.CodeInternal,
			"The OS user %q does not exist, and the node has no useradd to create it.", DefaultUser).
			WithHint("Create the user on the node, or name another run-as user.")
	}
	shell := "/bin/sh"
	if bash := h.Find("bash"); bash != "" {
		shell = bash
	}
	_, err := h.Run(
		ctx,
		useradd,
		"--create-home",
		"--user-group",
		"--shell",
		shell,
		"--comment",
		"Sekisho sessions",
		DefaultUser,
	)
	if err == nil {
		return nil
	}
	// Another process may have created it at the same time.
	if _, again := h.lookup(ctx, DefaultUser); again == nil {
		return nil
	}
	return cannotCreate(err)
}

func (h *Host) lookup(ctx context.Context, name string) (User, error) {
	return h.lookupEntry(ctx, name, func(e entry) bool { return e.name == name })
}

// lookupEntry finds a user in the passwd file or, for directory services, with
// getent.
func (h *Host) lookupEntry(ctx context.Context, key string, match func(entry) bool) (User, error) {
	b, err := readBounded(h.Passwd)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return User{}, fmt.Errorf("read the user database: %w", err)
	}
	e, found := findEntry(b, match)
	local := found
	if getent := h.Find("getent"); !found && getent != "" {
		// getent fails for unknown users.
		if b, err := h.Run(ctx, getent, "passwd", key); err == nil {
			e, found = findEntry(b, match)
		}
	}
	if !found {
		return User{}, sekisho.Errorf(sekisho.CodeNotFound, "no OS user %q", key)
	}
	u := User{Name: e.name, UID: e.uid, GID: e.gid, Home: e.home, Shell: e.shell}
	if !filepath.IsAbs(u.Home) {
		u.Home = "/"
	}
	if !filepath.IsAbs(u.Shell) {
		u.Shell = "/bin/sh"
	}
	if h.UID != 0 {
		return u, nil // it has the agent's groups
	}
	if u.Groups, err = h.groups(ctx, u, local); err != nil {
		return User{}, err
	}
	return u, nil
}

// groups returns the supplementary groups of u.
func (h *Host) groups(ctx context.Context, u User, local bool) ([]uint32, error) {
	if id := h.Find("id"); !local && id != "" {
		out, err := h.Run(ctx, id, "-G", u.Name)
		if err != nil {
			return nil, fmt.Errorf("groups of %q: %w", u.Name, err)
		}
		return parseIDs(out, u.GID), nil
	}
	b, err := readBounded(h.Group)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the group database: %w", err)
	}
	return groupsOf(b, u.Name, u.GID), nil
}

// maxGroups is the kernel's limit.
const maxGroups = 65536

func parseIDs(b []byte, except uint32) []uint32 {
	var ids []uint32
	for f := range strings.FieldsSeq(string(b)) {
		n, err := strconv.ParseUint(f, 10, 32)
		if err == nil && uint32(n) != except && len(ids) < maxGroups {
			ids = append(ids, uint32(n))
		}
	}
	return ids
}

func groupsOf(b []byte, name string, except uint32) []uint32 {
	var ids []uint32
	for s := scanLines(b); s.Scan(); {
		f := strings.Split(s.Text(), ":")
		if len(f) != 4 || !slices.Contains(strings.Split(f[3], ","), name) {
			continue
		}
		if gid, ok := parseID(f[2]); ok && gid != except && len(ids) < maxGroups {
			ids = append(ids, gid)
		}
	}
	return ids
}

// maxDatabase bounds the user database files.
const maxDatabase = 64 << 20

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxDatabase))
}

// entry is one line of a passwd file.
type entry struct {
	name, home, shell string
	uid, gid          uint32
}

func findEntry(b []byte, match func(entry) bool) (entry, bool) {
	for s := scanLines(b); s.Scan(); {
		if e, ok := parseEntry(s.Text()); ok && match(e) {
			return e, true
		}
	}
	return entry{}, false
}

func scanLines(b []byte) *bufio.Scanner {
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, len(b)+1)
	return s
}

// parseEntry parses one line. It ignores malformed lines, such as the "+" and "-" lines of NIS
// and entries whose IDs are not plain numbers.
func parseEntry(line string) (entry, bool) {
	f := strings.Split(line, ":")
	if len(f) != 7 || f[0] == "" || strings.ContainsAny(f[0], "+#\x00") || strings.ContainsRune(line, 0) {
		return entry{}, false
	}
	uid, ok := parseID(f[2])
	if !ok {
		return entry{}, false
	}
	gid, ok := parseID(f[3])
	if !ok {
		return entry{}, false
	}
	return entry{name: f[0], uid: uid, gid: gid, home: f[5], shell: f[6]}, true
}

// parseID parses a user or group ID. It refuses the largest number, which means "leave unchanged"
// to the kernel: a root process would stay root.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != math.MaxUint32 && s[0] != '+'
}

// Path is the PATH of sessions.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// LoginShell returns the user's login shell as a command to start; see [Host.Command].
func (h *Host) LoginShell(u User, extra ...string) *exec.Cmd {
	return h.Command(u, u.Shell, []string{"-" + filepath.Base(u.Shell)}, extra...)
}

// Command returns a program with arguments args, including args[0], as a command to start: with the
// user's IDs, in the user's home directory, and with a new environment plus extra ("NAME=value").
// Only LANG is inherited from the agent's environment.
func (h *Host) Command(u User, path string, args []string, extra ...string) *exec.Cmd {
	lang := os.Getenv("LANG")
	if lang == "" {
		lang = "C.UTF-8"
	}
	cmd := &exec.Cmd{
		Path: path,
		Args: args,
		Dir:  h.workingDir(u),
		Env: append([]string{
			"HOME=" + u.Home,
			"USER=" + u.Name,
			"LOGNAME=" + u.Name,
			"SHELL=" + u.Shell,
			"PATH=" + Path,
			"LANG=" + lang,
		}, extra...),
		SysProcAttr: &syscall.SysProcAttr{},
	}
	if h.UID == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	return cmd
}

// Elevated returns the user for commands whose document requires elevated rights: root. It is an
// error unless the agent runs as root.
func (h *Host) Elevated() (User, error) {
	if h.UID != 0 {
		return User{}, sekisho.Errorf(
			sekisho.CodeDenied,
			"The document requires elevated rights, but the node's agent does not run as root.",
		)
	}
	return User{Name: "root", Home: "/root", Shell: "/bin/sh"}, nil
}

// Program finds a program as a shell would, in the PATH of sessions.
func Program(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(Path) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", sekisho.Errorf(sekisho.CodeNotFound, "The program %.100q was not found on the node.", name)
}

// workingDir returns the home directory, or / if it does not exist. Whether the user can enter it
// is known only when the process starts.
func (h *Host) workingDir(u User) string {
	if st, err := os.Stat(u.Home); err == nil && st.IsDir() {
		return u.Home
	}
	return "/"
}
