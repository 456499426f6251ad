package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sekisho/internal/session/record"
	"sekisho/internal/store/sqlstore"
)

var (
	manipulationSeed   = flag.Uint64("manipulation-seed", usualSeed, "seed of TestRandomManipulations; 0 = random")
	manipulationRounds = flag.Int("manipulations", 0, "rounds of TestRandomManipulations; 0 = as many as usual")
)

// manipulation is a change of the data, and how the check has to name it.
type manipulation struct {
	what    string
	kinds   []string // one of these
	where   string
	subject string // "" = any
	// related are other subjects that may have findings: those which the change also concerns.
	related []string
}

// names reports whether f is the finding that the manipulation has to cause.
func (m *manipulation) names(f Finding) bool {
	return slices.Contains(m.kinds, f.Kind) && f.Where == m.where && (m.subject == "" || f.Subject == m.subject)
}

// concerns reports whether a finding about a recording or session may have this subject.
func (m *manipulation) concerns(subject string) bool {
	return subject == m.subject || slices.Contains(m.related, subject)
}

// manipulator changes a copy of a data directory at random.
type manipulator struct {
	*rand.Rand
	*dataDir
	t *testing.T
	// databaseChanged reports that the database was changed.
	databaseChanged bool
	original        string       // the directory that was copied
	unchanged       *sqlstore.DB // of the original
}

func (m *manipulator) sql(t testing.TB, query string, args ...any) int64 {
	t.Helper()
	m.databaseChanged = true
	return m.dataDir.sql(t, query, args...)
}

// check checks the data. It keeps the database open while that does not change.
func (m *manipulator) check() (*Integrity, error) {
	if m.databaseChanged {
		return m.dataDir.check(m.t, false)
	}
	if m.unchanged == nil {
		var err error
		m.unchanged, err = sqlstore.OpenSQLiteReader(m.t.Context(), filepath.Join(m.original, "sekisho.db"))
		must(m.t, err)
		m.t.Cleanup(func() { m.unchanged.Close() })
	}
	return m.checkWith(m.t, m.unchanged, false)
}

// restore undoes the last manipulation.
func (m *manipulator) restore(good *dataDir) {
	recordings := filepath.Join(m.dir, "recordings")
	must(m.t, os.RemoveAll(recordings))
	must(m.t, os.CopyFS(recordings, os.DirFS(filepath.Join(good.dir, "recordings"))))
	if !m.databaseChanged {
		return
	}
	m.databaseChanged = false
	files, err := filepath.Glob(filepath.Join(m.dir, "sekisho.db*"))
	must(m.t, err)
	for _, name := range files {
		must(m.t, os.Remove(name))
	}
	files, err = filepath.Glob(filepath.Join(good.dir, "sekisho.db*"))
	must(m.t, err)
	for _, name := range files {
		m.write(filepath.Join(m.dir, filepath.Base(name)), m.read(name))
	}
}

func (m *manipulator) read(name string) []byte {
	b, err := os.ReadFile(name)
	must(m.t, err)
	return b
}

func (m *manipulator) write(name string, b []byte) { must(m.t, os.WriteFile(name, b, 0o600)) }

// sealed returns the ID and directory of a sealed recording.
func (m *manipulator) sealed() (id, dir string) {
	i := m.IntN(len(m.ids) - 1)
	return string(m.ids[i]), m.recording(m.ids[i])
}

func (m *manipulator) ledger() string { return filepath.Join(m.dir, "recordings", record.LedgerFile) }

// lines returns the lines of the ledger, and the sessions that they are about.
func (m *manipulator) lines() (lines [][]byte, about []string) {
	for line := range bytes.SplitAfterSeq(m.read(m.ledger()), []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var e struct{ Session string }
		must(m.t, json.Unmarshal(line, &e))
		lines, about = append(lines, bytes.Clone(line)), append(about, e.Session)
	}
	return lines, about
}

func (m *manipulator) allIDs() (all []string) {
	for _, id := range m.ids {
		all = append(all, string(id))
	}
	return all
}

// recordingFile changes session.rec or seal.json of a sealed recording.
func (m *manipulator) recordingFile() *manipulation {
	id, dir := m.sealed()
	name := []string{record.MainFile, record.SealFile}[m.IntN(2)]
	file := filepath.Join(dir, name)
	b := m.read(file)
	out := &manipulation{where: "recording", subject: id}
	switch m.IntN(8) {
	case 0, 1, 2:
		i, bit := m.IntN(len(b)), m.IntN(8)
		b[i] ^= 1 << bit
		out.what, out.kinds = fmt.Sprintf("bit %d of byte %d of %s flipped", bit, i, name), []string{"altered"}
	case 3:
		n := m.IntN(len(b))
		b = b[:n]
		out.what, out.kinds = fmt.Sprintf("%s cut to %d bytes", name, n), []string{"truncated"}
	case 4:
		more := make([]byte, 1+m.IntN(300))
		for i := range more {
			more[i] = byte(m.Uint32())
		}
		b = append(b, more...)
		out.what, out.kinds = fmt.Sprintf("%d bytes added to %s", len(more), name), []string{"inserted"}
	case 5:
		must(m.t, os.Remove(file))
		out.what, out.kinds = name+" removed", []string{"missing"}
		return out
	case 6:
		from := m.IntN(len(b))
		to := from + 1 + m.IntN(len(b)-from)
		if bytes.Count(b[from:to], []byte{0}) == to-from {
			return nil
		}
		clear(b[from:to])
		out.what, out.kinds = fmt.Sprintf("bytes %d to %d of %s zeroed", from, to, name), []string{"altered"}
	case 7:
		from := m.IntN(len(b) - 1)
		to := from + 1 + m.IntN(len(b)-1-from)
		b = slices.Delete(b, from, to)
		// Removing what the end of the file repeats is the same as cutting it.
		out.what = fmt.Sprintf("bytes %d to %d of %s removed", from, to, name)
		out.kinds = []string{"altered", "truncated"}
	}
	m.write(file, b)
	out.what += " of " + id
	return out
}

// blocks changes the order of the blocks of a recording.
func (m *manipulator) blocks() *manipulation {
	id, dir := m.sealed()
	file := filepath.Join(dir, record.MainFile)
	blocks := splitBlocks(m.read(file))
	i := m.IntN(len(blocks))
	out := &manipulation{where: "recording", subject: id, kinds: []string{"altered"}}
	switch m.IntN(4) {
	case 0:
		if i == len(blocks)-1 {
			out.kinds = []string{"truncated"}
		}
		blocks = slices.Delete(blocks, i, i+1)
		out.what = fmt.Sprintf("block %d dropped", i)
	case 1:
		if i == len(blocks)-1 {
			out.kinds = []string{"inserted"}
		}
		blocks = slices.Insert(blocks, i, blocks[i])
		out.what = fmt.Sprintf("block %d repeated", i)
	case 2:
		j := m.IntN(len(blocks))
		if i == j {
			return nil
		}
		blocks[i], blocks[j] = blocks[j], blocks[i]
		out.what = fmt.Sprintf("blocks %d and %d swapped", i, j)
	case 3:
		other, from := m.sealed()
		if other == id {
			return nil
		}
		foreign := splitBlocks(m.read(filepath.Join(from, record.MainFile)))
		blocks[i] = foreign[m.IntN(len(foreign))]
		out.what = fmt.Sprintf("block %d replaced by one of %s", i, other)
	}
	m.write(file, bytes.Join(blocks, nil))
	out.what += " in " + id
	return out
}

// splitBlocks splits a session.rec at its blocks: see docs/formats/recording.md.
func splitBlocks(b []byte) (blocks [][]byte) {
	for len(b) > 0 {
		n := 128 + 64 + int(b[8])<<24 + int(b[9])<<16 + int(b[10])<<8 + int(b[11])
		blocks = append(blocks, bytes.Clone(b[:n]))
		b = b[n:]
	}
	return blocks
}

// recordings removes, swaps, replaces or inserts whole recordings.
func (m *manipulator) recordings() *manipulation {
	id, dir := m.sealed()
	other, from := m.sealed()
	if id == other {
		return nil
	}
	out := &manipulation{where: "recording", subject: id}
	switch m.IntN(5) {
	case 0:
		must(m.t, os.RemoveAll(dir))
		out.what, out.kinds = "recording removed", []string{"missing"}
	case 1:
		must(m.t, os.RemoveAll(dir))
		must(m.t, os.CopyFS(dir, os.DirFS(from)))
		out.what, out.kinds = "recording replaced by "+other, []string{"swapped"}
	case 2:
		must(m.t, errors.Join(os.Rename(dir, dir+"x"), os.Rename(from, dir), os.Rename(dir+"x", from)))
		out.what, out.kinds, out.related = "recording swapped with "+other, []string{"swapped"}, []string{other}
	case 3:
		const mallory = "mallory-aaaaaaaaaaaaaaaaaaaaaaaaaa"
		must(m.t, os.CopyFS(filepath.Join(filepath.Dir(dir), mallory), os.DirFS(dir)))
		out.what, out.kinds, out.subject = "recording copied to mallory from "+id, []string{"inserted"}, mallory
	case 4:
		file := filepath.Join(dir, record.MainFile)
		m.write(file, m.read(filepath.Join(from, record.MainFile)))
		out.what, out.kinds = "session.rec replaced by that of "+other, []string{"altered", "swapped"}
	}
	out.what += ": " + id
	return out
}

// openRecording changes the recording that has no seal.
func (m *manipulator) openRecording() *manipulation {
	id := m.ids[len(m.ids)-1]
	dir := m.recording(id)
	file := filepath.Join(dir, record.MainFile)
	out := &manipulation{where: "recording", subject: string(id)}
	switch b := m.read(file); m.IntN(3) {
	case 0:
		i := m.IntN(len(b))
		out.what, out.kinds = fmt.Sprintf("bit flipped in byte %d of the open recording", i), []string{"altered"}
		at, blocks := 0, splitBlocks(b)
		for n, block := range blocks {
			if i >= at+8 && i < at+12 { // its size: the block can look torn, as after a crash
				if n == len(blocks)-1 {
					return nil
				}
				out.kinds = append(out.kinds, "truncated")
			}
			at += len(block)
		}
		b[i] ^= 1 << m.IntN(8)
		m.write(file, b)
	case 1:
		blocks := splitBlocks(b)
		n := 1 + m.IntN(len(blocks)-2) // the tails have the last block
		m.write(file, bytes.Join(blocks[:n], nil))
		out.what, out.kinds = fmt.Sprintf("open recording cut to %d of %d blocks", n, len(blocks)), []string{"truncated"}
	case 2:
		must(m.t, os.RemoveAll(dir))
		out.what, out.kinds = "open recording removed", []string{"missing"}
	}
	return out
}

// ledgerFile changes the ledger.
func (m *manipulator) ledgerFile() *manipulation {
	lines, about := m.lines()
	i := m.IntN(len(lines))
	line := func(i int) string { return fmt.Sprintf("line %d", i+1) }
	out := &manipulation{where: "ledger", subject: line(i), related: []string{about[i]}}
	switch m.IntN(9) {
	case 0, 1, 2:
		k, bit := m.IntN(len(lines[i])), m.IntN(8)
		if k == len(lines[i])-1 && i < len(lines)-1 {
			out.related = append(out.related, about[i+1]) // it joins two lines
		}
		lines[i][k] ^= 1 << bit
		out.what, out.kinds = fmt.Sprintf("bit %d of byte %d of ledger line %d flipped", bit, k, i+1), []string{"altered"}
		if k == len(lines[i])-1 && i == len(lines)-1 {
			out.kinds = []string{"truncated"} // the line has no end
		}
	case 3:
		lines = slices.Delete(lines, i, i+1)
		out.what, out.kinds = fmt.Sprintf("line %d of the ledger removed", i+1), []string{"missing"}
		if i == len(lines) {
			out.kinds = []string{"rolled back"}
		}
	case 4:
		at := m.IntN(len(lines) + 1)
		copied := lines[i]
		lines = slices.Insert(lines, at, copied)
		out.what, out.subject = fmt.Sprintf("line %d of the ledger repeated before line %d", i+1, at+1), ""
		out.kinds = []string{"inserted", "missing"}
	case 5:
		j := m.IntN(len(lines))
		if i == j {
			return nil
		}
		lines[i], lines[j] = lines[j], lines[i]
		out.what, out.subject = fmt.Sprintf("lines %d and %d of the ledger swapped", i+1, j+1), ""
		out.kinds, out.related = []string{"missing", "inserted"}, m.allIDs()
	case 6:
		whole := bytes.Join(lines, nil)
		n := m.IntN(len(whole))
		m.write(m.ledger(), whole[:n])
		out.what, out.subject = fmt.Sprintf("ledger cut to %d bytes", n), ""
		out.kinds, out.related = []string{"truncated", "rolled back"}, nil
		for k, cut := len(lines)-1, len(whole); k >= 0 && cut > n; k-- {
			cut -= len(lines[k])
			out.related = append(out.related, about[k])
		}
		return out
	case 7:
		must(m.t, os.Remove(m.ledger()))
		out.what, out.kinds, out.subject = "ledger removed", []string{"missing"}, ""
		out.related = m.allIDs() // nothing says which recordings there were
		return out
	case 8:
		n := 1 + m.IntN(len(lines)-1)
		for _, id := range m.ids {
			if !slices.Contains(about[:n], string(id)) {
				must(m.t, os.RemoveAll(m.recording(id)))
				m.sql(m.t, "DELETE FROM sessions WHERE id = ?", string(id))
			}
		}
		lines = lines[:n]
		out.what, out.kinds, out.subject = fmt.Sprintf("everything rolled back to ledger line %d", n),
			[]string{"rolled back"}, ""
		out.related = m.allIDs()
	}
	m.write(m.ledger(), bytes.Join(lines, nil))
	return out
}

// database changes sessions and the audit trail.
func (m *manipulator) database() *manipulation {
	id, _ := m.sealed()
	var last int
	db := m.open(m.t)
	must(m.t, db.QueryRowContext(m.t.Context(), "SELECT max(seq) FROM audit_records").Scan(&last))
	must(m.t, db.Close())
	seq := 1 + m.IntN(last)
	record := fmt.Sprintf("record %d", seq)
	out := &manipulation{where: "audit", subject: record, related: m.allIDs()}
	switch m.IntN(9) {
	case 0:
		column := []string{"event_name", "event_source", "username"}[m.IntN(3)]
		m.sql(m.t, "UPDATE audit_records SET "+column+" = "+column+" || 'x' WHERE seq = ?", seq)
		out.what, out.kinds = fmt.Sprintf("%s of audit record %d altered", column, seq), []string{"altered"}
	case 1:
		db := m.open(m.t)
		var body []byte
		must(m.t, db.QueryRowContext(m.t.Context(), "SELECT body FROM audit_records WHERE seq = ?", seq).Scan(&body))
		must(m.t, db.Close())
		body[m.IntN(len(body))] ^= 1 << m.IntN(8)
		m.sql(m.t, "UPDATE audit_records SET body = ? WHERE seq = ?", body, seq)
		out.what, out.kinds = fmt.Sprintf("body of audit record %d altered", seq), []string{"altered"}
	case 2:
		m.sql(m.t, "DELETE FROM audit_records WHERE seq = ?", seq)
		out.what, out.kinds = fmt.Sprintf("audit record %d deleted", seq), []string{"missing"}
		if seq == last {
			out.kinds = []string{"missing", "rolled back"}
		}
	case 3:
		if m.sql(m.t, "UPDATE audit_heads SET hash = randomblob(32) WHERE seq = "+
			"(SELECT min(seq) FROM audit_heads WHERE seq >= ?)", seq) == 0 {
			return nil
		}
		out.what, out.kinds, out.subject = "audit head altered", []string{"altered"}, ""
	case 4:
		m.sql(m.t, `INSERT INTO audit_records (seq, event_id, time, event_name, event_source, username, access_key_id, read_only, hash, body)
			SELECT seq + 1, event_id || 'x', time, event_name, event_source, username, access_key_id, read_only, hash, body
			FROM audit_records ORDER BY seq DESC LIMIT 1`)
		out.what, out.kinds, out.subject = "audit record added", []string{"altered", "inserted", "unsigned"},
			fmt.Sprintf("record %d", last+1)
	case 5:
		column := []string{"owner", "target", "started_at"}[m.IntN(3)]
		m.sql(m.t, "UPDATE sessions SET "+column+" = '1' || "+column+" WHERE id = ?", id)
		out.what, out.kinds, out.where, out.subject = column+" of session altered: "+id, []string{"altered"}, "session", id
		out.related = nil
	case 6:
		m.sql(m.t, "DELETE FROM sessions WHERE id = ?", id)
		out.what, out.kinds, out.where, out.subject = "session deleted: "+id, []string{"missing"}, "session", id
		out.related = nil
	case 7:
		const mallory = "mallory-00000000000000000000000000"
		m.sql(m.t, "UPDATE sessions SET id = ? WHERE id = ?", mallory, id)
		out.what, out.kinds, out.where, out.subject = "session renamed: "+id, []string{"missing"}, "session", id
		out.related = []string{mallory}
	case 8:
		if time.Since(m.made) < 5*time.Second || m.sql(m.t, "DELETE FROM audit_heads WHERE seq >= ?", seq) == 0 {
			return nil // new records need not be signed yet
		}
		out.what, out.kinds, out.subject = fmt.Sprintf("audit heads from %d on deleted", seq), []string{"unsigned"}, ""
	}
	return out
}

// usualSeed makes each run of the usual tests the same; make manipulations takes other seeds.
const usualSeed = 20261130

// TestRandomManipulations changes archive, ledger, audit trail and database at random. The check has
// to name each change, and must not blame recordings and sessions that it does not concern.
func TestRandomManipulations(t *testing.T) {
	t.Parallel()
	seed := *manipulationSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat with: -run TestRandomManipulations -manipulation-seed %d", seed)
	rounds := *manipulationRounds
	if rounds == 0 {
		if rounds = 2000; testing.Short() {
			rounds = 200
		}
	}
	good := newDataDir(t, 5)
	m := &manipulator{rand.New(rand.NewPCG(seed, 1)), good.copy(t), t, false, good.dir, nil}
	for round := range rounds {
		var done *manipulation
		for done == nil { // those without an effect are not counted
			done = []func() *manipulation{
				m.recordingFile, m.recordingFile, m.blocks, m.recordings, m.openRecording, m.ledgerFile, m.database,
			}[m.IntN(7)]()
		}
		found, err := m.check()
		if err != nil {
			// The rows of a session that cannot be read at all make the check fail.
			if done.where != "session" {
				t.Fatalf("round %d: %s: %v", round, done.what, err)
			}
			found = &Integrity{Findings: []Finding{{done.kinds[0], done.where, done.subject, err.Error()}}}
		}
		if !slices.ContainsFunc(found.Findings, done.names) {
			t.Errorf("round %d: %s: want %q %s %s, found %s", round, done.what, done.kinds, done.where, done.subject,
				describe(found.Findings))
		}
		for _, f := range found.Findings {
			isID := strings.Contains(f.Subject, "-")
			if isID && !done.concerns(f.Subject) {
				t.Errorf("round %d: %s: blames %s", round, done.what, describe([]Finding{f}))
			}
		}
		if t.Failed() {
			return
		}
		m.restore(good)
	}
}

func describe(findings []Finding) string {
	var all []string
	for _, f := range findings {
		all = append(all, fmt.Sprintf("\n\t%s %s %s: %s", f.Kind, f.Where, f.Subject, f.Problem))
	}
	return strings.Join(all, "")
}
