package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"sekisho"
)

// Postgres says how to reach a PostgreSQL database.
type Postgres struct {
	// URL is postgres://user@host:port/database?parameters, without a password.
	URL string
	// Password authenticates the user. Empty: PGPASSWORD, a file of passwords (PGPASSFILE), or a method
	// that needs none.
	Password string
	// MaxConnections bounds the connections of this process; 0 = [DefaultConnections].
	MaxConnections int
}

// DefaultConnections is the usual bound of the connections of one process. PostgreSQL's own default
// bound for all processes is 100.
const DefaultConnections = 20

// Bounds that the server enforces on connections, unless the URL sets others. A transaction holds locks
// that other members wait for, so one whose process has stopped must not last.
var sessionBounds = map[string]string{
	"statement_timeout":                   "60000",
	"lock_timeout":                        "10000",
	"idle_in_transaction_session_timeout": "15000",
}

const (
	connectTimeout = 5 * time.Second
	// Sent bytes that a peer does not acknowledge for this long end the connection.
	networkTimeout = 20 * time.Second
	keepAliveEvery = 5 * time.Second
	keepAliveCount = 3
	maxLifetime    = 30 * time.Minute
	// oldestPostgres is the oldest major version that its developers support.
	oldestPostgres = 13
)

// Check reports what is wrong with the URL.
func (p Postgres) Check() error {
	_, err := p.config()
	return err
}

// String returns the database's address without secrets.
func (p Postgres) String() string {
	u, err := url.Parse(p.URL)
	if err != nil {
		return "the PostgreSQL database"
	}
	host := cmp.Or(u.Host, u.Query().Get("host"))
	return "postgres://" + host + u.EscapedPath()
}

// config returns the driver's configuration.
func (p Postgres) config() (*pgx.ConnConfig, error) {
	u, err := url.Parse(p.URL)
	if err != nil { // the error contains the URL
		return nil, errors.New("the database's URL is malformed: write postgres://user@host:5432/database")
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, fmt.Errorf("the database's URL has the scheme %q: write postgres://user@host:5432/database", u.Scheme)
	}
	q := u.Query()
	if _, has := u.User.Password(); has || q.Has("password") {
		return nil, fmt.Errorf("the URL of %s contains a password: set password_file, or PGPASSWORD in the environment", p)
	}
	if strings.Trim(u.Path, "/") == "" && q.Get("dbname") == "" {
		return nil, fmt.Errorf("the URL of %s names no database: write postgres://user@host:5432/database", p)
	}
	local := localHost(cmp.Or(u.Hostname(), q.Get("host")))
	switch mode := q.Get("sslmode"); {
	case mode == "" && !local:
		q.Set("sslmode", "verify-full")
	case !local && mode != "verify-full" && mode != "verify-ca" && mode != "require":
		return nil, fmt.Errorf("sslmode=%s does not require encryption: %s is another machine, so set sslmode=verify-full",
			mode, u.Hostname())
	}
	u.RawQuery = q.Encode()
	c, err := pgx.ParseConfig(u.String())
	if err != nil {
		if pe, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
			err = errors.Unwrap(pe) // without the URL
		}
		return nil, fmt.Errorf("the URL of %s is malformed: %w", p, err)
	}
	if p.Password != "" {
		c.Password = p.Password
	}
	for name, value := range sessionBounds {
		if _, set := c.RuntimeParams[name]; !set {
			c.RuntimeParams[name] = value
		}
	}
	c.RuntimeParams["application_name"] = cmp.Or(c.RuntimeParams["application_name"], "sekishod")
	c.RuntimeParams["client_encoding"] = "UTF8"
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{Control: userTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveEvery, Interval: keepAliveEvery, Count: keepAliveCount,
	}}
	c.DialFunc = dialer.DialContext
	// A cancelled call cancels its statement, and does not cost the connection.
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: connectTimeout}
	}
	return c, nil
}

// localHost reports whether a host of a URL is this machine. The directory of a socket is.
func localHost(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || strings.HasPrefix(host, "/") || host == "localhost" || err == nil && a.IsLoopback()
}

// OpenPostgres opens a database and brings its schema up to date. It refuses a schema of a newer
// version and a database of another program. Several processes can open the same database at once.
func OpenPostgres(ctx context.Context, p Postgres) (*DB, error) {
	c, err := p.config()
	if err != nil {
		return nil, err
	}
	if err := p.migrate(ctx, c); err != nil {
		return nil, err
	}
	return p.open(c), nil
}

// OpenPostgresReader opens a database read-only, without migrating it. Servers can use the database at
// the same time.
func OpenPostgresReader(ctx context.Context, p Postgres) (*DB, error) {
	c, err := p.config()
	if err != nil {
		return nil, err
	}
	c.RuntimeParams["default_transaction_read_only"] = "on"
	db := p.open(c)
	if err := db.sql.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", p, openError(err)), db.Close())
	}
	return db, nil
}

func (p Postgres) open(c *pgx.ConnConfig) *DB {
	db := sql.OpenDB(connector{stdlib.GetConnector(*c)})
	most := cmp.Or(p.MaxConnections, DefaultConnections)
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(min(most, 8))
	db.SetConnMaxIdleTime(time.Minute)
	db.SetConnMaxLifetime(maxLifetime)
	return newDB(db, true)
}

// unbounded returns c without bounds for the time of a statement: a migration of a large table takes long.
func unbounded(c *pgx.ConnConfig) *pgx.ConnConfig {
	own := c.Copy()
	for name := range sessionBounds {
		delete(own.RuntimeParams, name)
	}
	return own
}

// plain opens the database without the bounds and the conversions that queries need.
func plain(c *pgx.ConnConfig) *sql.DB {
	db := stdlib.OpenDB(*unbounded(c))
	db.SetMaxOpenConns(2) // one holds the lock
	return db
}

// migrate brings the schema up to date. One process does it at a time.
func (p Postgres) migrate(ctx context.Context, c *pgx.ConnConfig) (err error) {
	db := plain(c)
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open %s: %w", p, openError(err))
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := p.checkServer(ctx, conn); err != nil {
		return err
	}
	// The lock ends with the connection.
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1, $2)`, lockClass,
		int32(schemaVersion)); err != nil {
		return fmt.Errorf("lock the schema of %s: %w", p, err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, postgresSchema, goose.WithAllowOutofOrder(true))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if err := refuseNewer(ctx, conn, provider, p.String(), postgresCatalog); err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate %s: %w", p, err)
	}
	return nil
}

// checkServer refuses a server or a database that cannot hold the state.
func (p Postgres) checkServer(ctx context.Context, q querier) error {
	var number, encoding string
	var schema sql.NullString
	if err := q.QueryRowContext(ctx, `SELECT current_setting('server_version_num'), current_setting('server_encoding'),
		current_schema()`).Scan(&number, &encoding, &schema); err != nil {
		return fmt.Errorf("open %s: %w", p, err)
	}
	if n, err := strconv.Atoi(number); err != nil || n < oldestPostgres*10_000 {
		return fmt.Errorf("%s is a server of version %s: Sekisho needs PostgreSQL %d or later", p, number, oldestPostgres)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("%s has the encoding %s: create it with ENCODING 'UTF8' TEMPLATE template0", p, encoding)
	}
	if !schema.Valid {
		return fmt.Errorf("%s has no schema that its user can use: create one, or correct search_path", p)
	}
	return nil
}

// postgresCatalog counts the tables of a database, without those of extensions.
var postgresCatalog = catalog{
	versions: `SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'goose_db_version'`,
	tables: `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
		AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')`,
}

// IsEmpty reports whether the database has no tables.
func (p Postgres) IsEmpty(ctx context.Context) (empty bool, err error) {
	c, err := p.config()
	if err != nil {
		return false, err
	}
	db := plain(c)
	defer func() { err = errors.Join(err, db.Close()) }()
	var tables int
	if err := db.QueryRowContext(ctx, postgresCatalog.tables).Scan(&tables); err != nil {
		return false, fmt.Errorf("read %s: %w", p, openError(err))
	}
	return tables == 0, nil
}

// Describe connects to the database, changes nothing, and returns what it is. It refuses what
// [OpenPostgres] refuses.
func (p Postgres) Describe(ctx context.Context) (text string, err error) {
	c, err := p.config()
	if err != nil {
		return "", err
	}
	db := plain(c)
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.PingContext(ctx); err != nil {
		return "", fmt.Errorf("open %s: %w", p, openError(err))
	}
	if err := p.checkServer(ctx, db); err != nil {
		return "", err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, postgresSchema, goose.WithAllowOutofOrder(true))
	if err != nil {
		return "", fmt.Errorf("read migrations: %w", err)
	}
	if err := refuseNewer(ctx, db, provider, p.String(), postgresCatalog); err != nil {
		return "", err
	}
	var version string
	var tables int
	if err := db.QueryRowContext(ctx, `SHOW server_version`).Scan(&version); err != nil {
		return "", err
	}
	if err := db.QueryRowContext(ctx, postgresCatalog.tables).Scan(&tables); err != nil {
		return "", err
	}
	if tables == 0 {
		return fmt.Sprintf("%s, PostgreSQL %s; it is empty", p, version), nil
	}
	return fmt.Sprintf("%s, PostgreSQL %s", p, version), nil
}

// openError adds the remedy to an error of the first connection.
func openError(err error) error {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && (pe.Code == "28P01" || pe.Code == "28000"):
		return sekisho.Errorf(sekisho.CodeUnavailable, "%w", err).
			WithHint("Check the user in database.url, and the password in database.password_file.")
	case ok && pe.Code == "3D000":
		return sekisho.Errorf(sekisho.CodeUnavailable, "%w", err).
			WithHint("Create it: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0")
	case ok:
		return err
	}
	return sekisho.Errorf(sekisho.CodeUnavailable, "%w", err).WithHint("Start PostgreSQL, or correct database.url.")
}
