package broker

import (
	"context"

	"sekisho"
)

// Revoked is the reason shown to a person whose session ended because access was revoked.
const Revoked = "access was revoked"

// EndRevoked ends every active session whose owner's lease is no longer valid.
func (b *Broker) EndRevoked(ctx context.Context, stands func(ctx context.Context, lease string) (bool, error)) error {
	return b.eachMine(ctx, Query{}, func(s *sekisho.Session) error {
		if s.Lease == "" { // started before leases were recorded
			return nil
		}
		ok, err := stands(ctx, s.Lease)
		if err != nil || ok {
			return err
		}
		return b.Terminate(ctx, s.ID, Revoked)
	})
}

// EndCredential ends every active session that was started with a credential.
func (b *Broker) EndCredential(ctx context.Context, accessKeyID, why string) error {
	return b.eachActive(ctx, Query{}, func(s *sekisho.Session) error {
		if s.AccessKeyID != accessKeyID {
			return nil
		}
		return b.Terminate(ctx, s.ID, why)
	})
}
