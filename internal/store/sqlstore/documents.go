package sqlstore

import (
	"context"
	"database/sql"

	"sekisho"
	"sekisho/internal/ssmdoc/doclibrary"
)

// DocumentStore keeps documents and their versions.
type DocumentStore struct{ sql pool }

var _ doclibrary.Store = (*DocumentStore)(nil)

const documentColumns = `name, target_type, default_version, latest_version, created_at, tags, shares, type`

func documentValues(d *doclibrary.Document) []any {
	return []any{
		d.Name,
		d.TargetType,
		d.DefaultVersion,
		d.LatestVersion,
		micros(d.CreatedAt),
		tagsJSON(d.Tags),
		tagsJSON(d.Shares),
		d.Type,
	}
}

func scanDocument(row scanner) (*doclibrary.Document, error) {
	d := new(doclibrary.Document)
	var created int64
	var tags, shares string
	err := row.Scan(&d.Name, &d.TargetType, &d.DefaultVersion, &d.LatestVersion, &created, &tags, &shares, &d.Type)
	if err != nil {
		return nil, err
	}
	d.CreatedAt = fromMicros(created)
	if d.Tags, err = tagsFromJSON(tags); err != nil {
		return nil, err
	}
	d.Shares, err = tagsFromJSON(shares)
	return d, err
}

const documentVersionColumns = `name, number, version_name, display_name, format, content, created_at, created_by`

func scanDocumentVersion(row scanner) (*doclibrary.Version, error) {
	v := new(doclibrary.Version)
	var created int64
	err := row.Scan(
		&v.Document,
		&v.Number,
		&v.VersionName,
		&v.DisplayName,
		&v.Format,
		&v.Content,
		&created,
		&v.CreatedBy,
	)
	v.CreatedAt = fromMicros(created)
	return v, err
}

func insertDocumentVersion(ctx context.Context, tx *sql.Tx, v *doclibrary.Version) error {
	_, err := tx.ExecContext(
		ctx,
		`INSERT INTO document_versions (`+documentVersionColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		v.Document,
		v.Number,
		v.VersionName,
		v.DisplayName,
		v.Format,
		v.Content,
		micros(v.CreatedAt),
		v.CreatedBy,
	)
	if isUnique(err) {
		return sekisho.Errorf(
			sekisho.CodeConflict,
			"document %s has a version %d or one named %q",
			v.Document,
			v.Number,
			v.VersionName,
		)
	}
	return err
}

// CreateDocument implements [doclibrary.Store].
func (db *DocumentStore) CreateDocument(ctx context.Context, doc *doclibrary.Document, v *doclibrary.Version) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(
			ctx,
			`INSERT INTO documents (`+documentColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			documentValues(doc)...)
		if isUnique(err) {
			return sekisho.Errorf(sekisho.CodeConflict, "document %s exists", doc.Name)
		}
		if err != nil {
			return err
		}
		return insertDocumentVersion(ctx, tx, v)
	})
}

func (db *DocumentStore) document(ctx context.Context, q querier, name, lock string) (*doclibrary.Document, error) {
	doc, err := scanDocument(
		q.QueryRowContext(ctx, `SELECT `+documentColumns+` FROM documents WHERE name = $1`+lock, name))
	return doc, notFound(err, "document %s does not exist", name)
}

// Document implements [doclibrary.Store].
func (db *DocumentStore) Document(ctx context.Context, name string) (*doclibrary.Document, error) {
	return db.document(ctx, db.sql, name, "")
}

// Documents implements [doclibrary.Store].
func (db *DocumentStore) Documents(ctx context.Context) ([]*doclibrary.Document, error) {
	return queryAll(ctx, db.sql, scanDocument, `SELECT `+documentColumns+` FROM documents ORDER BY name`)
}

// UpdateDocument implements [doclibrary.Store].
func (db *DocumentStore) UpdateDocument(
	ctx context.Context,
	name string,
	change func(*doclibrary.Document) (*doclibrary.Version, error),
) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		doc, err := db.document(ctx, tx, name, forUpdate)
		if err != nil {
			return err
		}
		v, err := change(doc)
		if err != nil {
			return err
		}
		if v != nil {
			if err := insertDocumentVersion(ctx, tx, v); err != nil {
				return err
			}
		}
		var one int
		if err := tx.QueryRowContext(ctx, `SELECT 1 FROM document_versions WHERE name = $1 AND number = $2`, name,
			doc.DefaultVersion).Scan(&one); err != nil {
			return notFound(err, "document %s has no version %d", name, doc.DefaultVersion)
		}
		_, err = tx.ExecContext(
			ctx,
			`UPDATE documents SET target_type = $2, default_version = $3, latest_version = $4, created_at = $5,
			tags = $6, shares = $7, type = $8 WHERE name = $1`,
			documentValues(doc)...)
		return err
	})
}

// DeleteDocument implements [doclibrary.Store].
func (db *DocumentStore) DeleteDocument(ctx context.Context, name string) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM document_versions WHERE name = $1`, name); err != nil {
			return err
		}
		return deleteOne(ctx, tx, `DELETE FROM documents WHERE name = $1`, name)
	})
}

// deleteOne runs a deletion that must delete a row.
func deleteOne(ctx context.Context, q querier, query string, args ...any) error {
	res, err := q.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return sekisho.Errorf(sekisho.CodeNotFound, "%v does not exist", args)
}

// DocumentVersion implements [doclibrary.Store].
func (db *DocumentStore) DocumentVersion(ctx context.Context, name string, number int64) (*doclibrary.Version, error) {
	v, err := scanDocumentVersion(
		db.sql.QueryRowContext(
			ctx,
			`SELECT `+documentVersionColumns+` FROM document_versions WHERE name = $1 AND number = $2`,
			name,
			number,
		),
	)
	return v, notFound(err, "document %s has no version %d", name, number)
}

// DocumentVersions implements [doclibrary.Store].
func (db *DocumentStore) DocumentVersions(ctx context.Context, name string) ([]*doclibrary.Version, error) {
	all, err := queryAll(
		ctx,
		db.sql,
		scanDocumentVersion,
		`SELECT `+documentVersionColumns+` FROM document_versions WHERE name = $1 ORDER BY number DESC`,
		name,
	)
	if err == nil && len(all) == 0 {
		return nil, sekisho.Errorf(sekisho.CodeNotFound, "document %s does not exist", name)
	}
	return all, err
}

// DeleteDocumentVersion implements [doclibrary.Store].
func (db *DocumentStore) DeleteDocumentVersion(ctx context.Context, name string, number int64) error {
	return db.sql.inTx(ctx, func(tx *sql.Tx) error {
		// The default version does not change meanwhile.
		if _, err := db.document(ctx, tx, name, forUpdate); err != nil {
			return err
		}
		return deleteOne(ctx, tx, `DELETE FROM document_versions WHERE name = $1 AND number = $2
			AND number <> (SELECT default_version FROM documents WHERE documents.name = document_versions.name)`, name, number)
	})
}
