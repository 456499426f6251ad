package server

import "sekisho/internal/api/sekishoapi"

// resumer resumes sessions by their own tokens, where that is wanted.
func (s *Server) resumer() sekishoapi.Resumer {
	if !s.cfg.ResumeWithSessionToken {
		return nil
	}
	return s.broker
}
