package runcommand

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sekisho/internal/wire/id"
	"sekisho/internal/wire/mgs"
)

// Bounds of what is kept.
const (
	maxSeen       = 2000 // commands that are never run again
	maxReplies    = 1000
	maxReplyBytes = 64 << 20
	maxRecord     = 1 << 20
)

// The names of what is kept, after the command's ID.
const (
	seenSuffix  = ".seen"
	jobSuffix   = ".job"
	replySuffix = ".reply"
	workDir     = "work"
)

// store is what the agent knows of commands, in a directory of its own, so
// that its end does not end that:
//
//	ID.seen        the command has been taken, and is not taken again
//	ID.job         it is not over yet
//	ID.UUID.reply  what the server has to take note of
//	work/ID/       where it runs
type store struct {
	path string
	root *os.Root

	mu      sync.Mutex
	seen    []string // oldest first
	replies []kept   // oldest first
	bytes   int64    // of replies
}

// kept is a reply in its file.
type kept struct {
	name string
	size int64
}

// record is a command that is not over.
type record struct {
	Job    string
	Steps  []stepRecord
	Began  bool
	Group  int // process group of the script that runs, or 0
	Number int // of the step that runs
}

// stepRecord is a step of a record.
type stepRecord struct {
	Name, Plugin string
	Status       string // once it is over
}

// storedReply is a reply as it is kept.
type storedReply struct {
	Job   string
	ID    mgs.UUID
	At    int64 // nanoseconds since 1970, for their order
	Final bool
	Reply mgs.CommandReply
}

// openStore opens the store at path, and returns the commands that were not
// over when the agent ended, and the replies that wait.
func openStore(path string) (*store, map[string]record, []storedReply, error) {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, nil, nil, fmt.Errorf("directory of commands: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("directory of commands: %w", err)
	}
	s := &store{path: path, root: root}
	jobs, waiting, err := s.load()
	if err != nil {
		return nil, nil, nil, errors.Join(fmt.Errorf("directory of commands: %w", err), root.Close())
	}
	return s, jobs, waiting, nil
}

func (s *store) close() { _ = s.root.Close() } // nothing is written any more

func (s *store) load() (map[string]record, []storedReply, error) {
	if err := s.root.Mkdir(workDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, nil, err
	}
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return nil, nil, err
	}
	type file struct {
		name string
		size int64
		time time.Time
	}
	var files []file
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			files = append(files, file{e.Name(), info.Size(), info.ModTime()})
		}
	}
	slices.SortStableFunc(files, func(a, b file) int {
		return cmp.Or(a.time.Compare(b.time), cmp.Compare(a.name, b.name))
	})
	jobs := make(map[string]record)
	var waiting []storedReply
	for _, f := range files {
		var err error
		switch command, suffix := split(f.name); suffix {
		case seenSuffix:
			s.seen = append(s.seen, command)
		case jobSuffix:
			var r record
			if err = s.read(f.name, &r); err == nil && commandOf(r.Job) != command {
				err = errors.New("of another job")
			}
			if err == nil {
				jobs[command] = r
			}
		case replySuffix:
			var r storedReply
			if err = s.read(f.name, &r); err == nil && replyName(r.Job, r.ID) != f.name {
				err = errors.New("of another job")
			}
			if err == nil {
				s.replies = append(s.replies, kept{f.name, f.size})
				s.bytes += f.size
				waiting = append(waiting, r)
			}
		default:
			err = errors.New("of no use")
		}
		if err != nil {
			_ = s.root.Remove(f.name) // what cannot be read is of no use the next time either
		}
	}
	s.prune()
	slices.SortStableFunc(waiting, func(a, b storedReply) int { return cmp.Compare(a.At, b.At) })
	return jobs, waiting, nil
}

// split is the command of a file, and what it says of the command.
func split(name string) (command, suffix string) {
	command, _, _ = strings.Cut(name, ".")
	return command, filepath.Ext(name)
}

func (s *store) read(name string, v any) error {
	f, err := s.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// write puts a file in place whole or not at all, and returns its size.
func (s *store) write(name string, v any) (size int64, err error) {
	b, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	temp := "." + id.UUID()
	f, err := s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return 0, err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = s.root.Rename(temp, name)
	}
	if err != nil {
		_ = s.root.Remove(temp) // the first error is the one to tell
	}
	return int64(len(b)), err
}

// take notes that a command has been taken. It reports whether that is news.
func (s *store) take(command string, r record) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.seen, command) {
		return false, nil
	}
	f, err := s.root.OpenFile(command+seenSuffix, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		_, err = s.write(command+jobSuffix, r)
	}
	if err == nil {
		err = s.sync()
	}
	if err != nil {
		_ = s.root.Remove(command + seenSuffix) // it may be sent again
		_ = s.root.Remove(command + jobSuffix)
		return false, fmt.Errorf("note a command: %w", err)
	}
	s.seen = append(s.seen, command)
	s.prune()
	return true, nil
}

func (s *store) sync() error {
	d, err := s.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// prune forgets what is more than may be kept, the oldest first.
func (s *store) prune() {
	for len(s.seen) > maxSeen {
		_ = s.root.Remove(s.seen[0] + seenSuffix)
		s.seen = s.seen[1:]
	}
	for len(s.replies) > maxReplies || s.bytes > maxReplyBytes {
		_ = s.root.Remove(s.replies[0].name)
		s.bytes -= s.replies[0].size
		s.replies = s.replies[1:]
	}
}

// update notes how far a command is.
func (s *store) update(command string, r record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.write(command+jobSuffix, r)
	return err
}

// over notes that a command is over: its last reply is kept.
func (s *store) over(job string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.root.Remove(commandOf(job) + jobSuffix) // at worst it is reported once more
}

// keep keeps a reply and returns a function that gives it back. When the disk
// does not take it, it is kept in memory.
func (s *store) keep(r storedReply) func() (mgs.CommandReply, error) {
	r.At = time.Now().UnixNano()
	name := replyName(r.Job, r.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	size, err := s.write(name, r)
	if err != nil {
		return func() (mgs.CommandReply, error) { return r.Reply, nil }
	}
	s.replies = append(s.replies, kept{name, size})
	s.bytes += size
	s.prune()
	return s.loader(r.Job, r.ID)
}

func (s *store) loader(job string, reply mgs.UUID) func() (mgs.CommandReply, error) {
	name := replyName(job, reply)
	return func() (mgs.CommandReply, error) {
		var r storedReply
		err := s.read(name, &r)
		return r.Reply, err
	}
}

func replyName(job string, reply mgs.UUID) string {
	return commandOf(job) + "." + reply.String() + replySuffix
}

// commandOf is the command of a job, as the name of its files.
func commandOf(job string) string {
	command, _, err := mgs.ParseJobID(job)
	if err != nil {
		return "none"
	}
	return command
}

// forget removes a reply that the server has taken note of.
func (s *store) forget(job string, reply mgs.UUID) {
	name := replyName(job, reply)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.replies, func(k kept) bool { return k.name == name })
	if i < 0 {
		return
	}
	s.bytes -= s.replies[i].size
	s.replies = slices.Delete(s.replies, i, i+1)
	_ = s.root.Remove(name) // at worst, it is reported again
}

// workPath is the directory that a command runs in.
func (s *store) workPath(command string) string { return filepath.Join(s.path, workDir, command) }

// clean removes the directory that a command ran in, unless something is
// mounted there: it would be emptied.
func (s *store) clean(command string) error {
	path := s.workPath(command)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if at := mountedUnder(string(mounts), real); at != "" {
		return fmt.Errorf("something is mounted at %s", at)
	}
	return s.root.RemoveAll(filepath.Join(workDir, command))
}

// mountedUnder is a mount point at or beneath path, or "".
func mountedUnder(mountinfo, path string) string {
	path = strings.NewReplacer("\\", `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`).Replace(path)
	for line := range strings.Lines(mountinfo) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4]+"/", path+"/") {
			return f[4]
		}
	}
	return ""
}

// leftovers are the commands whose directories are still there.
func (s *store) leftovers() []string {
	entries, err := fs.ReadDir(s.root.FS(), workDir)
	if err != nil {
		return nil // there is nothing to clean then
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}
