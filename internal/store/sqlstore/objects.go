package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"sekisho/internal/storage/objects"
)

// ObjectStore keeps buckets and the index of their objects.
type ObjectStore struct{ sql pool }

var _ objects.Index = (*ObjectStore)(nil)

// noRows turns "no rows" into an error of the object store.
func noRows(err, otherwise error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return otherwise
	}
	return err
}

// CreateBucket implements [objects.Index].
func (db *ObjectStore) CreateBucket(ctx context.Context, b *objects.Bucket) error {
	settings, err := json.Marshal(b.Settings)
	if err != nil {
		return err
	}
	_, err = db.sql.ExecContext(
		ctx,
		`INSERT INTO buckets (name, created_at, versioning, settings) VALUES ($1, $2, $3, $4)`,
		b.Name,
		micros(b.CreatedAt),
		string(b.Versioning),
		string(settings),
	)
	if isUnique(err) {
		return objects.ErrBucketExists
	}
	return err
}

const bucketColumns = `name, created_at, versioning, settings`

func scanBucket(row scanner) (*objects.Bucket, error) {
	b := new(objects.Bucket)
	var created int64
	var settings string
	if err := row.Scan(&b.Name, &created, &b.Versioning, &settings); err != nil {
		return nil, err
	}
	b.CreatedAt = fromMicros(created)
	if err := json.Unmarshal([]byte(settings), &b.Settings); err != nil {
		return nil, fmt.Errorf("stored settings of bucket %s: %w", b.Name, err)
	}
	return b, nil
}

// Bucket implements [objects.Index].
func (db *ObjectStore) Bucket(ctx context.Context, name string) (*objects.Bucket, error) {
	return bucketIn(ctx, db.sql, name, "")
}

func bucketIn(ctx context.Context, q querier, name, lock string) (*objects.Bucket, error) {
	b, err := scanBucket(q.QueryRowContext(ctx, `SELECT `+bucketColumns+` FROM buckets WHERE name = $1`+lock, name))
	return b, noRows(err, objects.ErrNoBucket)
}

// Buckets implements [objects.Index].
func (db *ObjectStore) Buckets(ctx context.Context) ([]*objects.Bucket, error) {
	return queryAll(ctx, db.sql, scanBucket, `SELECT `+bucketColumns+` FROM buckets ORDER BY name`)
}

// UpdateBucket implements [objects.Index].
func (db *ObjectStore) UpdateBucket(ctx context.Context, name string, change func(*objects.Bucket) error) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		b, err := bucketIn(ctx, tx, name, forUpdate)
		if err != nil {
			return err
		}
		if err := change(b); err != nil {
			return err
		}
		settings, err := json.Marshal(b.Settings)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(
			ctx,
			`UPDATE buckets SET versioning = $1, settings = $2 WHERE name = $3`,
			string(b.Versioning),
			string(settings),
			name,
		)
		return err
	})
}

// DeleteBucket implements [objects.Index].
func (db *ObjectStore) DeleteBucket(ctx context.Context, name string) (dead []string, err error) {
	err = db.sql.inTx(ctx, func(tx *sql.Tx) error {
		dead = nil
		if _, err := bucketIn(ctx, tx, name, forUpdate); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRowContext(ctx,
			`SELECT COUNT(*) FROM (SELECT 1 FROM object_versions WHERE bucket = $1 LIMIT 1) AS found`,
			name).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return objects.ErrBucketNotEmpty
		}
		uploads, err := queryAll(ctx, tx, scanText, `SELECT id FROM object_uploads WHERE bucket = $1`, name)
		if err != nil {
			return err
		}
		for _, u := range uploads {
			gone, err := dropUpload(ctx, tx, u, nil)
			if err != nil {
				return err
			}
			dead = append(dead, gone...)
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM buckets WHERE name = $1`, name)
		return err
	})
	return dead, err
}

func scanText(row scanner) (string, error) {
	var s string
	err := row.Scan(&s)
	return s, err
}

const versionColumns = `bucket, key, seq, version_id, latest, delete_marker, size, etag, modified_at, facts`

func scanVersion(row scanner) (*objects.Version, error) {
	return scanVersionWith(row)
}

// scanVersionWith scans what is selected after the versionColumns into more.
func scanVersionWith(row scanner, more ...any) (*objects.Version, error) {
	v := new(objects.Version)
	var key []byte
	var modified int64
	var facts string
	if err := row.Scan(append([]any{&v.Bucket, &key, &v.Seq, &v.ID, &v.Latest, &v.DeleteMarker, &v.Size, &v.ETag,
		&modified, &facts}, more...)...); err != nil {
		return nil, err
	}
	v.Key, v.ModifiedAt = string(key), fromMicros(modified)
	if err := json.Unmarshal([]byte(facts), &v.Facts); err != nil {
		return nil, fmt.Errorf("stored facts of %s/%s: %w", v.Bucket, v.Key, err)
	}
	return v, nil
}

// versionIn returns a version with its pieces; id "" is the current one.
func versionIn(ctx context.Context, q querier, bucket, key, id, lock string) (*objects.Version, error) {
	where, args := `latest`, []any{bucket, []byte(key)}
	if id != "" {
		where, args = `version_id = $3`, append(args, id)
	}
	var pieces string
	v, err := scanVersionWith(
		q.QueryRowContext(
			ctx,
			`SELECT `+versionColumns+`, pieces FROM object_versions WHERE bucket = $1 AND key = $2 AND `+where+lock,
			args...),
		&pieces,
	)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(pieces), &v.Pieces); err != nil {
		return nil, fmt.Errorf("stored pieces of %s/%s: %w", bucket, key, err)
	}
	return v, nil
}

// Version implements [objects.Index].
func (db *ObjectStore) Version(ctx context.Context, bucket, key, id string) (*objects.Version, error) {
	v, err := versionIn(ctx, db.sql, bucket, key, id, "")
	if id == "" {
		return v, noRows(err, objects.ErrNoKey)
	}
	return v, noRows(err, objects.ErrNoVersion)
}

// PutVersion implements [objects.Index].
func (db *ObjectStore) PutVersion(
	ctx context.Context,
	v *objects.Version,
	c objects.Condition,
	upload string,
) (dead []string, err error) {
	facts, err := json.Marshal(v.Facts)
	if err != nil {
		return nil, err
	}
	pieces, err := json.Marshal(v.Pieces)
	if err != nil {
		return nil, err
	}
	id := v.ID
	err = db.sql.inTx(ctx, func(tx *sql.Tx) error {
		v.ID, dead = id, nil
		b, err := bucketIn(ctx, tx, v.Bucket, forUpdate)
		if err != nil {
			return err
		}
		if err := checkCondition(ctx, tx, v, c); err != nil {
			return err
		}
		if b.Versioning != objects.VersioningEnabled {
			v.ID = objects.NullVersion
			if _, dead, err = removeVersion(ctx, tx, v.Bucket, v.Key, v.ID); err != nil {
				return err
			}
		}
		used := make(map[string]bool, len(v.Pieces))
		for _, p := range v.Pieces {
			used[p.Blob] = true
		}
		if upload == "" {
			for blob := range used {
				if _, err := tx.ExecContext(ctx, `INSERT INTO object_blobs (id, dead) VALUES ($1, $2)`, blob, false); err != nil {
					return err
				}
			}
		} else {
			rest, err := dropUpload(ctx, tx, upload, used)
			if err != nil {
				return err
			}
			dead = append(dead, rest...)
		}
		if err := tx.QueryRowContext(ctx,
			`SELECT COALESCE(MAX(seq), 0) + 1 FROM object_versions WHERE bucket = $1 AND key = $2`, v.Bucket,
			[]byte(v.Key)).Scan(&v.Seq); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE object_versions SET latest = $1 WHERE bucket = $2 AND key = $3 AND latest`,
			false, v.Bucket, []byte(v.Key)); err != nil {
			return err
		}
		_, err = tx.ExecContext(
			ctx,
			`INSERT INTO object_versions (`+versionColumns+`, pieces) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			v.Bucket,
			[]byte(v.Key),
			v.Seq,
			v.ID,
			true,
			v.DeleteMarker,
			v.Size,
			v.ETag,
			micros(v.ModifiedAt),
			string(facts),
			string(pieces),
		)
		return err
	})
	if err != nil {
		return nil, err
	}
	return dead, nil
}

// UpdateVersion implements [objects.Index].
func (db *ObjectStore) UpdateVersion(
	ctx context.Context,
	bucket, key, id string,
	change func(*objects.Version) error,
) (*objects.Version, error) {
	var v *objects.Version
	err := db.sql.inTx(ctx, func(tx *sql.Tx) (err error) {
		if v, err = versionIn(ctx, tx, bucket, key, id, forUpdate); err != nil {
			if id == "" {
				return noRows(err, objects.ErrNoKey)
			}
			return noRows(err, objects.ErrNoVersion)
		}
		if err := change(v); err != nil {
			return err
		}
		facts, err := json.Marshal(v.Facts)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(
			ctx,
			`UPDATE object_versions SET facts = $1 WHERE bucket = $2 AND key = $3 AND seq = $4`,
			string(facts),
			bucket,
			[]byte(key),
			v.Seq,
		)
		return err
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

func checkCondition(ctx context.Context, tx *sql.Tx, v *objects.Version, c objects.Condition) error {
	if c == (objects.Condition{}) {
		return nil
	}
	have, err := versionIn(ctx, tx, v.Bucket, v.Key, "", "")
	absent := errors.Is(err, sql.ErrNoRows) || err == nil && have.DeleteMarker
	switch {
	case err != nil && !absent:
		return err
	case c.Absent && !absent:
		return objects.ErrPrecondition
	case c.ETag != "" && absent:
		return objects.ErrNoKey
	case c.ETag != "" && c.ETag != "*" && c.ETag != have.ETag:
		return objects.ErrPrecondition
	}
	return nil
}

// removeVersion removes a version, marks its blobs dead and makes the newest remaining
// version the current one. It does nothing if there is no such version.
func removeVersion(ctx context.Context, tx *sql.Tx, bucket, key, id string) (*objects.Version, []string, error) {
	v, err := versionIn(ctx, tx, bucket, key, id, forUpdate)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM object_versions WHERE bucket = $1 AND key = $2 AND seq = $3`, bucket,
		[]byte(key), v.Seq); err != nil {
		return nil, nil, err
	}
	if v.Latest {
		if _, err := tx.ExecContext(ctx, `UPDATE object_versions SET latest = $1 WHERE bucket = $2 AND key = $3
			AND seq = (SELECT MAX(seq) FROM object_versions WHERE bucket = $2 AND key = $3)`, true, bucket,
			[]byte(key)); err != nil {
			return nil, nil, err
		}
	}
	var dead []string
	for _, p := range v.Pieces {
		dead = append(dead, p.Blob)
	}
	return v, dead, kill(ctx, tx, dead)
}

// kill marks blobs dead.
func kill(ctx context.Context, tx *sql.Tx, blobs []string) error {
	for _, id := range blobs {
		if _, err := tx.ExecContext(ctx, `UPDATE object_blobs SET dead = $1 WHERE id = $2`, true, id); err != nil {
			return err
		}
	}
	return nil
}

// DeleteVersion implements [objects.Index].
func (db *ObjectStore) DeleteVersion(
	ctx context.Context,
	bucket, key, id string,
) (gone *objects.Version, dead []string, err error) {
	err = db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := bucketIn(ctx, tx, bucket, forUpdate); err != nil {
			return err
		}
		gone, dead, err = removeVersion(ctx, tx, bucket, key, id)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return gone, dead, nil
}

// between returns the condition on the keys of a range. $1 is the bucket.
func between(r objects.Range, place string, after any) (where string, args []any) {
	args = []any{r.Bucket, []byte(r.From)}
	where = `bucket = $1 AND key >= $2`
	if after != nil {
		args = append(args, after)
		where += ` AND (key > $2 OR ` + place + ` $3)`
	}
	if r.To != "" {
		args = append(args, []byte(r.To))
		where += fmt.Sprintf(` AND key < $%d`, len(args))
	}
	return where, args
}

// Versions implements [objects.Index].
func (db *ObjectStore) Versions(ctx context.Context, r objects.Range) ([]*objects.Version, error) {
	text, args := versionsQuery(r)
	return queryAll(ctx, db.sql, scanVersion, text, args...)
}

func versionsQuery(r objects.Range) (string, []any) {
	var before any
	if r.Before > 0 && r.Before < math.MaxInt64 {
		before = r.Before
	}
	where, args := between(r, `seq <`, before)
	return fmt.Sprintf(
		`SELECT `+versionColumns+` FROM object_versions WHERE %s ORDER BY key, seq DESC LIMIT %d`, where, r.Limit), args
}

// Current implements [objects.Index].
func (db *ObjectStore) Current(ctx context.Context, r objects.Range) ([]*objects.Version, error) {
	text, args := currentQuery(r)
	return queryAll(ctx, db.sql, scanVersion, text, args...)
}

func currentQuery(r objects.Range) (string, []any) {
	where, args := between(r, "", nil)
	return fmt.Sprintf(
		`SELECT `+versionColumns+` FROM object_versions WHERE %s AND latest AND NOT delete_marker ORDER BY key LIMIT %d`,
		where, r.Limit), args
}

// PutUpload implements [objects.Index].
func (db *ObjectStore) PutUpload(ctx context.Context, u *objects.Upload) error {
	facts, err := json.Marshal(u.Facts)
	if err != nil {
		return err
	}
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := bucketIn(ctx, tx, u.Bucket, forUpdate); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO object_uploads (`+uploadColumns+`) VALUES ($1, $2, $3, $4, $5, $6)`,
			u.ID, u.Bucket, []byte(u.Key), micros(u.StartedAt), u.StartedBy, string(facts))
		return err
	})
}

const uploadColumns = `id, bucket, key, started_at, started_by, facts`

func scanUpload(row scanner) (*objects.Upload, error) {
	u := new(objects.Upload)
	var key []byte
	var started int64
	var facts string
	if err := row.Scan(&u.ID, &u.Bucket, &key, &started, &u.StartedBy, &facts); err != nil {
		return nil, err
	}
	u.Key, u.StartedAt = string(key), fromMicros(started)
	return u, json.Unmarshal([]byte(facts), &u.Facts)
}

// Upload implements [objects.Index].
func (db *ObjectStore) Upload(ctx context.Context, bucket, key, id string) (*objects.Upload, error) {
	u, err := scanUpload(
		db.sql.QueryRowContext(
			ctx,
			`SELECT `+uploadColumns+` FROM object_uploads WHERE id = $1 AND bucket = $2 AND key = $3`,
			id,
			bucket,
			[]byte(key),
		),
	)
	return u, noRows(err, objects.ErrNoUpload)
}

// Uploads implements [objects.Index].
func (db *ObjectStore) Uploads(ctx context.Context, r objects.Range) ([]*objects.Upload, error) {
	text, args := uploadsQuery(r)
	return queryAll(ctx, db.sql, scanUpload, text, args...)
}

func uploadsQuery(r objects.Range) (string, []any) {
	var after any
	if r.After != "" {
		after = r.After
	}
	where, args := between(r, `id >`, after)
	return fmt.Sprintf(
		`SELECT `+uploadColumns+` FROM object_uploads WHERE %s ORDER BY key, id LIMIT %d`, where, r.Limit), args
}

// DeleteUpload implements [objects.Index].
func (db *ObjectStore) DeleteUpload(ctx context.Context, id string) (dead []string, err error) {
	err = db.sql.inTx(ctx, func(tx *sql.Tx) error {
		dead, err = dropUpload(ctx, tx, id, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	return dead, nil
}

// lockUpload keeps the parts of an upload as they are.
const lockUpload = `SELECT id FROM object_uploads WHERE id = $1` + forUpdate

// dropUpload ends an upload and marks the blobs of its unused parts dead.
func dropUpload(ctx context.Context, tx *sql.Tx, id string, used map[string]bool) ([]string, error) {
	if _, err := queryAll(ctx, tx, scanText, lockUpload, id); err != nil {
		return nil, err
	}
	parts, err := queryAll(ctx, tx, scanText, `SELECT blob FROM object_parts WHERE upload = $1`, id)
	if err != nil {
		return nil, err
	}
	var dead []string
	found := 0
	for _, blob := range parts {
		if used[blob] {
			found++
		} else {
			dead = append(dead, blob)
		}
	}
	if found != len(used) { // a part was replaced since it was chosen
		return nil, objects.ErrPart
	}
	if err := kill(ctx, tx, dead); err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM object_parts WHERE upload = $1`, id); err != nil {
		return nil, err
	}
	res, err := tx.ExecContext(ctx, `DELETE FROM object_uploads WHERE id = $1`, id)
	if err != nil {
		return nil, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return nil, errors.Join(err, objects.ErrNoUpload)
	}
	return dead, nil
}

const partColumns = `upload, number, blob, size, etag, checksum, modified_at, stated_algorithm, stated_checksum`

// PutPart implements [objects.Index].
func (db *ObjectStore) PutPart(ctx context.Context, p *objects.Part) (dead []string, err error) {
	err = db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := scanText(tx.QueryRowContext(ctx, lockUpload, p.Upload)); err != nil {
			return noRows(err, objects.ErrNoUpload)
		}
		if dead, err = queryAll(ctx, tx, scanText, `SELECT blob FROM object_parts WHERE upload = $1 AND number = $2`,
			p.Upload, p.Number); err != nil {
			return err
		}
		if err := kill(ctx, tx, dead); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM object_parts WHERE upload = $1 AND number = $2`, p.Upload,
			p.Number); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO object_blobs (id, dead) VALUES ($1, $2)`, p.Blob, false); err != nil {
			return err
		}
		_, err := tx.ExecContext(
			ctx,
			`INSERT INTO object_parts (`+partColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			p.Upload,
			p.Number,
			p.Blob,
			p.Size,
			p.ETag,
			p.Checksum,
			micros(p.ModifiedAt),
			p.Stated.Algorithm,
			p.Stated.Value,
		)
		return err
	})
	if err != nil {
		return nil, err
	}
	return dead, nil
}

// Parts implements [objects.Index].
func (db *ObjectStore) Parts(ctx context.Context, upload string, after, limit int) ([]*objects.Part, error) {
	return queryAll(ctx, db.sql, func(row scanner) (*objects.Part, error) {
		p := new(objects.Part)
		var modified int64
		err := row.Scan(
			&p.Upload,
			&p.Number,
			&p.Blob,
			&p.Size,
			&p.ETag,
			&p.Checksum,
			&modified,
			&p.Stated.Algorithm,
			&p.Stated.Value,
		)
		p.ModifiedAt = fromMicros(modified)
		return p, err
	}, `SELECT `+partColumns+` FROM object_parts WHERE upload = $1 AND number > $2 ORDER BY number LIMIT $3`, upload,
		after, limit)
}

// Blobs implements [objects.Index].
func (db *ObjectStore) Blobs(ctx context.Context, prefix string) (map[string]bool, error) {
	// All hexadecimal continuations sort before prefix + "g".
	ids, err := queryAll(
		ctx,
		db.sql,
		scanText,
		`SELECT id FROM object_blobs WHERE id >= $1 AND id < $2`,
		prefix,
		prefix+"g",
	)
	if err != nil {
		return nil, err
	}
	all := make(map[string]bool, len(ids))
	for _, id := range ids {
		all[id] = true
	}
	return all, nil
}

// DeadBlobs implements [objects.Index].
func (db *ObjectStore) DeadBlobs(ctx context.Context) ([]string, error) {
	return queryAll(ctx, db.sql, scanText, `SELECT id FROM object_blobs WHERE dead ORDER BY id`)
}

// ForgetBlobs implements [objects.Index].
func (db *ObjectStore) ForgetBlobs(ctx context.Context, ids []string) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, `DELETE FROM object_blobs WHERE id = $1 AND dead`, id); err != nil {
				return err
			}
		}
		return nil
	})
}
