package device

import (
	"cmp"
	"context"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/ledger"
)

// Policy is how often this account's devices may ask for secrets: how many
// requests in an hour and in a day the server answers for each device. A bulk
// reveal counts as one for every 500 secrets.
type Policy struct {
	RevealsPerHour uint64
	RevealsPerDay  uint64
}

// PolicyResult is the policy in force, and the one that was chosen last. They
// differ while a higher limit waits for the waiting period to pass.
type PolicyResult struct {
	Now    Policy
	Chosen Policy
	From   time.Time // when Chosen counts; zero if it does already
}

// Policy returns the policy. It does not ask the server: see [Device.Sync].
func (d *Device) Policy(ctx context.Context) (*PolicyResult, error) {
	if err := cmp.Or(ctx.Err(), d.readable()); err != nil {
		return nil, explain(err, "read the policy")
	}
	return policyOf(d.home.State(), d.o.Now()), nil
}

func policyOf(s *ledger.State, now time.Time) *PolicyResult {
	chosen, from := s.ComingPolicy()
	r := &PolicyResult{Now: limitsOf(s.Policy(now)), Chosen: limitsOf(chosen)}
	if r.Now != r.Chosen {
		r.From = from
	}
	return r
}

func limitsOf(p *recordv1.Policy) Policy {
	return Policy{RevealsPerHour: p.GetRevealsPerHour(), RevealsPerDay: p.GetRevealsPerDay()}
}

// SetPolicy changes the policy, with the second factor. A limit of zero stays as
// it was chosen last. A lower limit counts at once, a higher one when the waiting
// period has passed: whoever takes a device cannot lift it before the owner sees
// that. Choosing a limit anew takes the place of one that still waits.
func (d *Device) SetPolicy(ctx context.Context, p Policy) (*PolicyResult, error) {
	if p.RevealsPerHour > math.MaxInt32 || p.RevealsPerDay > math.MaxInt32 {
		return nil, failure(CodeUsage, nil, "choose a smaller one", "a limit is at most %d", math.MaxInt32)
	}
	if err := d.writable(); err != nil {
		return nil, err
	}
	err := d.append(ctx, func(s *ledger.State) ([]transaction, error) {
		chosen := policyOf(s, d.entryTime(s)).Chosen
		next := Policy{cmp.Or(p.RevealsPerHour, chosen.RevealsPerHour), cmp.Or(p.RevealsPerDay, chosen.RevealsPerDay)}
		if next == chosen {
			return nil, nil // said again, it would only wait anew
		}
		return []transaction{{records: []proto.Message{&recordv1.PolicyChanged{
			Policy: &recordv1.Policy{RevealsPerHour: next.RevealsPerHour, RevealsPerDay: next.RevealsPerDay},
		}}}}, nil
	})
	if err != nil {
		return nil, explain(err, "change the policy")
	}
	return policyOf(d.home.State(), d.o.Now()), nil
}
