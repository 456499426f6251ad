// Package pgtest runs PostgreSQL servers for tests: one for all tests of a package, with a database
// for each test, and servers of their own for tests that stop or restart them.
package pgtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// requireEnv, when set, makes a missing PostgreSQL a failure instead of a reason to skip.
const requireEnv = "SEKISHO_REQUIRE_POSTGRES"

// startTimeout bounds the start of a server on a loaded machine.
const startTimeout = 60 * time.Second

// superuser owns everything on the servers of tests.
const superuser = "sekisho"

// shared is the server of the test binary.
var shared struct {
	mu       sync.Mutex
	server   *Server
	err      error
	migrated bool     // the template
	free     []string // databases with the schema that no test uses
	number   atomic.Int64
}

// Main runs the tests of a package, and then stops the server that they shared. A package that calls
// [Database] needs it:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
func Main(m *testing.M) int {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.remove(); err != nil {
			fmt.Fprintln(os.Stderr, "pgtest:", err)
			code = max(code, 1)
		}
	}
	return code
}

// Server is a PostgreSQL server with its own data, which only this machine's socket reaches.
type Server struct {
	dir     string // of the data and the socket
	bin     string // of the programs
	account *syscall.Credential

	mu   sync.Mutex
	stop func() error // nil while the server is stopped
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := privateServer(t)
	if err := s.Start(); err != nil {
		t.Fatal(errors.Join(err, s.remove()))
	}
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func privateServer(t testing.TB) *Server {
	t.Helper()
	s, err := create()
	if errors.Is(err, errMissing) && os.Getenv(requireEnv) == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var errMissing = errors.New("PostgreSQL is not installed: scripts/setup installs it")

// programs returns the directory of PostgreSQL's programs. Debian's are not in PATH.
func programs() (string, error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.Sort(dirs)
	slices.Reverse(dirs)
	if found, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(found))
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	return "", errMissing
}

// Installed reports whether PostgreSQL is installed, or has to be.
func Installed() bool {
	_, err := programs()
	return err == nil || os.Getenv(requireEnv) != ""
}

// unprivileged returns a user to run the server as: it refuses to run as root.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("there is no unprivileged user to run PostgreSQL as")
}

// create makes the data of a server.
func create() (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin}
	if s.account, err = unprivileged(); err != nil {
		return nil, err
	}
	// Not in the test's own directory: the path of a socket is short, and the server's user must reach it.
	if s.dir, err = os.MkdirTemp("", "sekisho-pg-"); err != nil {
		return nil, err
	}
	if s.account != nil {
		if err := os.Chown(s.dir, int(s.account.Uid), int(s.account.Gid)); err != nil {
			return nil, errors.Join(err, s.remove())
		}
	}
	cmd := s.command("initdb", "--pgdata", s.data(), "--username", superuser, "--auth", "trust", "--encoding", "UTF8",
		"--locale", "C.UTF-8", "--no-sync", "--no-instructions")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w\n%s", err, out), s.remove())
	}
	return s, nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(program string, args ...string) *exec.Cmd {
	//nolint:noctx // stop ends the server
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + s.bin + ":/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	// The server ends with the tests, even if they are killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	return cmd
}

// Start starts the server again after [Server.Stop], and waits until it accepts connections.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		return nil
	}
	var log bytes.Buffer
	cmd := s.command("postgres", "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=",
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "jit=off",
		"-c", "max_connections=300", "-c", "shared_buffers=64MB", "-c", "max_wal_size=256MB", "-c", "autovacuum=off")
	cmd.Stdout, cmd.Stderr = &log, &log
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		// The signal at the parent's death is that of the thread that started the program.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := s.await(ctx, ended); err != nil {
		_ = cmd.Process.Kill()
		return fmt.Errorf("start PostgreSQL: %w\n%s", err, log.String())
	}
	s.stop = func() error {
		// Connections are closed at once, and changes are kept.
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			return err
		}
		<-ended //nolint:errcheck // its exit status does not matter
		return nil
	}
	return nil
}

// await waits until the server accepts connections.
func (s *Server) await(ctx context.Context, ended chan error) error {
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case err := <-ended:
			return fmt.Errorf("it ended: %w", err)
		case <-tick.C:
		}
	}
}

// Stop closes all connections and stops the server. Its data stay.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop == nil {
		return nil
	}
	stop := s.stop
	s.stop = nil
	return stop()
}

// Restart stops the server and starts it again.
func (s *Server) Restart() error { return errors.Join(s.Stop(), s.Start()) }

func (s *Server) remove() error { return errors.Join(s.Stop(), os.RemoveAll(s.dir)) }

// URL returns the URL of a database on the server.
func (s *Server) URL(database string) string {
	return (&url.URL{
		Scheme: "postgres", User: url.User(superuser), Path: "/" + database,
		RawQuery: url.Values{"host": {s.dir}}.Encode(),
	}).String()
}

// Exec runs statements on a database.
func (s *Server) Exec(ctx context.Context, database string, statements ...string) (err error) {
	db, err := sql.Open("pgx", s.URL(database))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// RequirePasswords makes the server refuse users other than its superuser without their password.
func (s *Server) RequirePasswords(ctx context.Context) error {
	rules := "local all " + superuser + " trust\nlocal all all scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(rules), 0o600); err != nil {
		return err
	}
	return s.Exec(ctx, "postgres", "SELECT pg_reload_conf()")
}

// Database returns the URL of a new database on the server that the tests of the package share. migrate
// fills the first with the schema; nil leaves the database empty.
func Database(t testing.TB, migrate func(ctx context.Context, url string) error) string {
	t.Helper()
	s := sharedServer(t)
	ctx := context.WithoutCancel(t.Context())
	if migrate == nil {
		name := fmt.Sprintf("empty%d", shared.number.Add(1))
		if err := s.Exec(ctx, "postgres", "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
			t.Fatal(err)
		}
		return s.URL(name)
	}
	name, err := s.take(ctx, migrate)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.giveBack(ctx, name); err != nil {
			t.Error(err)
		}
	})
	return s.URL(name)
}

// take returns a database that no test uses. To make one costs a hundred times what it costs to empty one.
func (s *Server) take(ctx context.Context, migrate func(ctx context.Context, url string) error) (string, error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if n := len(shared.free); n > 0 {
		name := shared.free[n-1]
		shared.free = shared.free[:n-1]
		return name, nil
	}
	if !shared.migrated {
		if err := s.Exec(ctx, "postgres", "CREATE DATABASE "+template+" TEMPLATE template0"); err != nil {
			return "", err
		}
		if err := migrate(ctx, s.URL(template)); err != nil {
			return "", err
		}
		if err := s.Exec(ctx, template, keepInitialRows); err != nil {
			return "", err
		}
		shared.migrated = true
	}
	name := fmt.Sprintf("test%d", shared.number.Add(1))
	return name, s.Exec(ctx, "postgres", "CREATE DATABASE "+name+" TEMPLATE "+template)
}

// giveBack empties a database. A test must have closed its connections.
func (s *Server) giveBack(ctx context.Context, name string) error {
	if err := s.Exec(ctx, name, restoreInitialRows); err != nil {
		return err
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.free = append(shared.free, name)
	return nil
}

// template is the database that others are copies of.
const template = "migrated"

// keepInitialRows remembers the rows that a new database has.
const keepInitialRows = `DO $$ DECLARE r record; BEGIN
	CREATE SCHEMA initial;
	FOR r IN SELECT tablename AS t FROM pg_tables WHERE schemaname = 'public' LOOP
		EXECUTE format('CREATE TABLE initial.%1$I AS TABLE public.%1$I', r.t);
	END LOOP;
END $$`

// restoreInitialRows gives a database its first rows back. Triggers that check references do not run.
const restoreInitialRows = `DO $$ DECLARE r record; BEGIN
	SET LOCAL session_replication_role = replica;
	FOR r IN SELECT tablename AS t FROM pg_tables WHERE schemaname = 'initial' LOOP
		EXECUTE format('DELETE FROM public.%1$I', r.t);
		EXECUTE format('INSERT INTO public.%1$I TABLE initial.%1$I', r.t);
	END LOOP;
END $$`

func sharedServer(t testing.TB) *Server {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil && shared.err == nil {
		if shared.server, shared.err = create(); shared.err == nil {
			shared.err = shared.server.Start()
		}
	}
	if errors.Is(shared.err, errMissing) && os.Getenv(requireEnv) == "" {
		t.Skip(shared.err)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}
