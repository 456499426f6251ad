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

// Limits of the store.
const (
	maxSeen       = 2000 // finished commands, which never run again
	maxReplies    = 1000
	maxReplyBytes = 64 << 20
	maxRecord     = 1 << 20
)

// Suffixes of file names, after the command's ID.
const (
	seenSuffix  = ".seen"
	jobSuffix   = ".job"
	replySuffix = ".reply"
	workDir     = "work"
)

// store persists the state of commands across restarts of the agent, in its own directory:
//
//	ID.seen        the command was accepted, and must not be accepted again
//	ID.job         the command has not ended
//	ID.UUID.reply  a reply that the server has not acknowledged
//	work/ID/       the command's working directory
type store struct {
	path string
	root *os.Root

	mu      sync.Mutex
	seen    []string // oldest first
	replies []kept   // oldest first
	bytes   int64    // of replies
}

// kept is a stored reply.
type kept struct {
	name string
	size int64
}

// record is a command that has not ended.
type record struct {
	Job    string
	Steps  []stepRecord
	Began  bool
	Group  int // process group of the running script, or 0
	Number int // of the running step
}

// stepRecord is a step of a record.
type stepRecord struct {
	Name, Plugin string
	Status       string // after it has ended
}

// storedReply is the stored form of a reply.
type storedReply struct {
	Job   string
	ID    mgs.UUID
	At    int64 // nanoseconds since 1970, for their order
	Final bool
	Reply mgs.CommandReply
}

// openStore opens the store at path, and returns the commands that had not ended when the agent
// stopped, and the unacknowledged replies.
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

func (s *store) close() { _ = s.root.Close() } // nothing is written afterwards

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
				err = errors.New("for another job")
			}
			if err == nil {
				jobs[command] = r
			}
		case replySuffix:
			var r storedReply
			if err = s.read(f.name, &r); err == nil && replyName(r.Job, r.ID) != f.name {
				err = errors.New("for another job")
			}
			if err == nil {
				s.replies = append(s.replies, kept{f.name, f.size})
				s.bytes += f.size
				waiting = append(waiting, r)
			}
		default:
			err = errors.New("damaged")
		}
		if err != nil {
			_ = s.root.Remove(f.name) // a damaged file is useless
		}
	}
	s.prune()
	slices.SortStableFunc(waiting, func(a, b storedReply) int { return cmp.Compare(a.At, b.At) })
	return jobs, waiting, nil
}

// split returns the command's ID and the suffix of a file name.
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

// write atomically replaces a file, and returns its size.
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
		_ = s.root.Remove(temp) // report the first error
	}
	return int64(len(b)), err
}

// take records that a command has been accepted. It returns false if that was already recorded.
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
		_ = s.root.Remove(command + seenSuffix) // the server may send it again
		_ = s.root.Remove(command + jobSuffix)
		return false, fmt.Errorf("record a command: %w", err)
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

// prune removes the oldest entries beyond the limits.
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

// update records the progress of a command.
func (s *store) update(command string, r record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.write(command+jobSuffix, r)
	return err
}

// over records that a command has ended. Its last reply must be stored already.
func (s *store) over(job string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.root.Remove(commandOf(job) + jobSuffix) // at worst, it is reported again
}

// keep stores a reply and returns a function that loads it. If the disk is not writable, keep holds
// it in memory.
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

// commandOf returns the command's ID of a job, which is the prefix of its files.
func commandOf(job string) string {
	command, _, err := mgs.ParseJobID(job)
	if err != nil {
		return "none"
	}
	return command
}

// forget removes a reply that the server has acknowledged.
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

// workPath returns the working directory of a command.
func (s *store) workPath(command string) string { return filepath.Join(s.path, workDir, command) }

// clean removes the working directory of a command, unless something is mounted there, which would
// be emptied.
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

// mountedUnder returns a mount point at or below path, or "".
func mountedUnder(mountinfo, path string) string {
	path = strings.NewReplacer("\\", `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`).Replace(path)
	for line := range strings.Lines(mountinfo) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4]+"/", path+"/") {
			return f[4]
		}
	}
	return ""
}

// leftovers returns the commands whose working directories still exist.
func (s *store) leftovers() []string {
	entries, err := fs.ReadDir(s.root.FS(), workDir)
	if err != nil {
		return nil // nothing to clean
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}
