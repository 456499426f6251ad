package server

import "sekisho/internal/api/sekishoapi"

// resumer resumes sessions with their own tokens; nil if that is disabled.
func (s *Server) resumer() sekishoapi.Resumer {
	if !s.cfg.ResumeWithSessionToken {
		return nil
	}
	return s.broker
}
