package record

// Storage describes what recordings take.
type Storage struct {
	Recordings int64 // all that were not removed
	Held       int64 // those under a hold
	DiskBytes  int64 // in the folder, the ledger included
	// StoredBytes is what the store has of sealed recordings. Files that are in the folder too count
	// in both.
	StoredBytes int64
	// TotalBytes counts every file once. Retention limits it.
	TotalBytes int64
}

// Storage measures the recordings.
func (r *Recorder) Storage() (Storage, error) {
	var s Storage
	for _, dir := range r.all() {
		n, err := r.bytesOf(dir)
		if err != nil {
			return s, err
		}
		s.Recordings++
		s.TotalBytes += n
		s.DiskBytes += n - r.storedElsewhere(dir)
		for _, size := range r.markerOf(dir).Objects {
			s.StoredBytes += size
		}
	}
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	s.DiskBytes += r.ledger.size
	s.Held = int64(len(r.ledger.held))
	return s, nil
}
