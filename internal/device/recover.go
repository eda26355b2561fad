package device

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
	"zeropass.dev/zeropass/recovery"
	"zeropass.dev/zeropass/seed"
)

// RecoverOptions says which account a new device is to recover.
type RecoverOptions struct {
	secretive

	Dir               string // of the new device; it must not exist, or be empty
	ServerURL         string
	Name              string            // of the account
	Account           *ledger.AccountID // if it is known; the server's answer must be the same
	Passphrase        []byte
	ConfirmPassphrase []byte
	UnlockCost        int // base-2 logarithm of scrypt's rounds, 0 for the default
}

// RecoveryResult is how far a recovery has come, by the server's word.
type RecoveryResult struct {
	Account   ledger.AccountID
	Name      string
	Request   ledger.Hash
	Phrase    string // eight words, to be read to every contact
	Epoch     uint64
	Started   time.Time
	Ends      time.Time // of the waiting period
	Approvals int
	Quorum    int
	Approved  []uint64 // members whose approvals count
	Sheet     bool     // the printed sheet's approval counts, which is worth a quorum
	Vetoes    int
	Released  bool
	Over      bool   // the account was recovered
	Ready     bool   // recover finish can go on
	Recovered bool   // by this device; recover finish is to be run again if Pending
	Pending   bool   // the new epoch is not prepared yet
	Missing   string // what is still to come, in words; empty if Ready
}

// recoveryState is what a new device must not forget until it has recovered the
// account and prepared its next epoch.
type recoveryState struct {
	Request []byte // exact bytes of the SignedRecoveryRequest; nil before there is one
	Sheet   []byte // binary share of the printed sheet, typed here; nil if it was not
}

const recoveryFile = "recovery"

// recovering says whether the directory waits for a recovery.
func (d *Device) recovering() bool {
	r, err := load[recoveryState](d, recoveryFile)
	return err == nil && r != nil
}

// RecoverStart makes a new device and asks for the recovery of an account. Run
// again with the same directory, it goes on with the same request.
func RecoverStart(ctx context.Context, o Options, r RecoverOptions) (*Device, *RecoveryResult, error) {
	o = o.withDefaults()
	if r.Name == "" {
		return nil, nil, failure(CodeUsage, nil, "give the name that the account was made with", "the account to recover is not named")
	}
	d, fresh, err := openOrBegin(ctx, o, r)
	if err != nil {
		return nil, nil, err
	}
	result, err := d.startRecovery(ctx, r)
	if err != nil {
		_ = d.Close()
		if fresh && signed(err) {
			// The server takes no request, for want of such an account for one:
			// nothing but unused keys is here.
			err = errors.Join(err, os.RemoveAll(r.Dir))
		}
		return nil, nil, explain(err, "start the recovery of "+r.Name)
	}
	return d, result, nil
}

// openOrBegin opens the directory of a recovery that was begun, or makes a fresh
// one.
func openOrBegin(ctx context.Context, o Options, r RecoverOptions) (d *Device, fresh bool, err error) {
	h, err := home.Open(r.Dir)
	if errors.Is(err, home.ErrMissing) {
		d, err = create(ctx, o, r.Dir, r.ServerURL, r.Name, home.Creation{
			Passphrase:        r.Passphrase,
			ConfirmPassphrase: r.ConfirmPassphrase,
			WorkFactor:        r.UnlockCost,
		})
		return d, true, err
	}
	if err != nil {
		return nil, false, openError(r.Dir, err)
	}
	if d, err = unlock(h, r.Passphrase, o); err != nil {
		_ = h.Close()
		return nil, false, err
	}
	begun, err := load[initState](d, initFile)
	switch {
	case err != nil:
	case d.recovering() && !strings.EqualFold(d.Name(), r.Name):
		err = failure(CodeHome, ErrBefore, "run it with --name "+d.Name()+" to go on, or name another directory with --home", "%s waits for the recovery of %s", r.Dir, d.Name())
	case begun != nil, d.joining(), d.home.State() != nil && !d.recovering(), !strings.EqualFold(d.Name(), r.Name):
		err = failure(CodeHome, ErrBefore, "name another directory with --home", "%s holds the account %s already", r.Dir, d.Name())
	}
	if err == nil {
		err = d.reachAt(ctx, r.ServerURL)
	}
	if err != nil {
		_ = d.Close()
		return nil, false, explain(err, "go on in "+r.Dir)
	}
	return d, false, nil
}

func (d *Device) startRecovery(ctx context.Context, r RecoverOptions) (*RecoveryResult, error) {
	state, err := load[recoveryState](d, recoveryFile)
	if err != nil {
		return nil, err
	}
	if state == nil {
		state = &recoveryState{}
		if err := d.save(recoveryFile, state); err != nil {
			return nil, err
		}
	}
	if d.keys.Account == (ledger.AccountID{}) {
		if err := d.nameAccount(ctx, r); err != nil {
			return nil, err
		}
	}
	if state.Request == nil {
		if err := d.newRequest(state); err != nil {
			return nil, err
		}
	}
	answer, err := d.client.StartRecovery(ctx, d.newcomer(), &apiv1.StartRecoveryRequest{Request: state.Request})
	if signed(err) && errors.Is(err, api.ErrClock) {
		// The request is too old to be taken, and was never taken.
		if err := d.newRequest(state); err != nil {
			return nil, err
		}
		answer, err = d.client.StartRecovery(ctx, d.newcomer(), &apiv1.StartRecoveryRequest{Request: state.Request})
	}
	if err != nil {
		return nil, err
	}
	return d.recoveryResult(state, answer.Recovery)
}

// nameAccount asks which account has the name. The contacts compare the id by
// voice: it is in the phrase.
func (d *Device) nameAccount(ctx context.Context, r RecoverOptions) error {
	who := d.newcomer()
	who.Account = nil
	answer, err := d.client.StartRecovery(ctx, who, &apiv1.StartRecoveryRequest{Name: r.Name})
	if err != nil {
		return err
	}
	if len(answer.Account) != len(ledger.AccountID{}) {
		return fmt.Errorf("%w: it names an account with an id of %d bytes", client.ErrDishonest, len(answer.Account))
	}
	account := ledger.AccountID(answer.Account)
	if r.Account != nil && *r.Account != account {
		return failure(CodeDishonest, client.ErrDishonest, "ask a contact for the account's id, and whoever runs the server why it gives another one",
			"the server says that %s is account %v, not %v", r.Name, account, *r.Account)
	}
	if err := d.home.SetIdentity(account, 0); err != nil {
		return err
	}
	d.keys, err = d.home.Keys()
	return err
}

func (d *Device) newRequest(state *recoveryState) error {
	nonce, err := d.nonce()
	if err != nil {
		return err
	}
	request, err := recovery.NewRequest(d.keys.Account, d.keys, d.server, [16]byte(nonce), d.o.Now())
	if err != nil {
		return err
	}
	state.Request = request.Bytes()
	return d.save(recoveryFile, state)
}

// newcomer is who asks before the device stands in the ledger.
func (d *Device) newcomer() api.Identity {
	who := d.identity()
	who.Device = 0
	return who
}

// RecoverStatus asks the server how far the recovery has come.
func (d *Device) RecoverStatus(ctx context.Context) (*RecoveryResult, error) {
	state, request, err := d.ownRecovery()
	if err != nil {
		return nil, err
	}
	r, err := d.client.RecoveryStatus(ctx, d.newcomer(), &apiv1.RecoveryStatusRequest{Request: idOf(request)})
	if err != nil {
		return nil, explain(err, "ask for the recovery")
	}
	return d.recoveryResult(state, r)
}

func idOf(r *ledger.RecoveryRequest) []byte {
	id := r.ID()
	return id[:]
}

// ownRecovery returns the recovery that was started in this directory.
func (d *Device) ownRecovery() (*recoveryState, *ledger.RecoveryRequest, error) {
	state, err := load[recoveryState](d, recoveryFile)
	if err != nil {
		return nil, nil, explain(err, "read the recovery")
	}
	if state == nil {
		if s := d.home.State(); s != nil && slices.ContainsFunc(s.Recoveries(), func(r ledger.Recovery) bool { return r.Device == d.keys.Device }) {
			return nil, nil, failure(CodeUsage, ErrNotRecovering, "zeropass status says how it stands, and zeropass list what came back", "this device has recovered %s already", d.Name())
		}
		return nil, nil, failure(CodeUsage, ErrNotRecovering, "zeropass recover start begins one, in a directory of its own", "no recovery is under way in %s", d.Dir())
	}
	if state.Request == nil {
		return nil, nil, failure(CodeHome, ErrRecovering, "run zeropass recover start again with the same directory", "the recovery in %s was not started to the end", d.Dir())
	}
	request, err := ledger.ParseRecoveryRequest(state.Request)
	return state, request, explain(err, "read the recovery")
}

func (d *Device) recoveryResult(state *recoveryState, r *apiv1.Recovery) (*RecoveryResult, error) {
	request, err := ledger.ParseRecoveryRequest(state.Request)
	if err != nil {
		return nil, explain(err, "read the recovery")
	}
	result := &RecoveryResult{
		Account: d.keys.Account, Name: d.Name(), Request: request.ID(), Phrase: recoveryPhrase(request.Message()),
		Epoch: r.GetEpoch(), Started: millis(r.GetStarted()), Ends: millis(r.GetEnds()),
		Approvals: int(r.GetApprovals()), Quorum: int(r.GetQuorum()), Approved: r.GetApproved(), Sheet: r.GetSheetApproved(),
		Vetoes: len(r.GetVetoes()), Released: r.GetReleased(), Over: r.GetOver(),
	}
	if s := d.home.State(); s != nil {
		_, result.Recovered = s.Recovered(request.ID())
		result.Pending = result.Recovered
	}
	enough := result.Approvals >= result.Quorum || result.Sheet
	result.Missing = d.missing(result, enough)
	result.Ready = result.Missing == ""
	return result, nil
}

func (d *Device) missing(r *RecoveryResult, enough bool) string {
	wait := fmt.Sprintf("the waiting period, which ends on %s", r.Ends.Local().Format(time.DateTime))
	lack := fmt.Sprintf("%d of %d approvals", r.Quorum-r.Approvals, r.Quorum)
	waiting := d.o.Now().Before(r.Ends)
	switch {
	case r.Recovered:
		return ""
	case r.Over:
		return "nothing: another device has recovered the account"
	case !enough && waiting:
		return lack + " and " + wait
	case !enough:
		return lack
	case waiting:
		return wait
	}
	return ""
}

// AddPaperShare approves with the words of a member that is paper, typed here on
// the new device.
func (d *Device) AddPaperShare(ctx context.Context, words string) (*RecoveryResult, error) {
	_, request, err := d.ownRecovery()
	if err != nil {
		return nil, err
	}
	share, err := recovery.ParseShare(words)
	if err != nil {
		return nil, &Error{Code: CodeUsage, Message: err.Error(), Hint: "look at the paper again", Err: err}
	}
	defer share.Erase()
	if share.GroupIndex() == seed.GroupSheet {
		return nil, failure(CodeUsage, nil, "zeropass recover sheet takes it", "these are the words of a printed sheet, not of a share on paper")
	}
	shown, terms, err := d.approvalTerms(ctx, request)
	if err != nil {
		return nil, err
	}
	approval, err := recovery.ApproveOnPaper(share, shown.GetEpoch(), request, terms)
	if err != nil {
		return nil, explain(err, "approve with these words")
	}
	sealed, err := recovery.SealShare(d.o.Rand, share, shown.GetEpoch(), request)
	if err != nil {
		return nil, explain(err, "approve with these words")
	}
	if _, err := d.client.Approve(ctx, d.newcomer(), &apiv1.ApproveRequest{Approval: approval.Bytes(), SealedShare: sealed}); err != nil {
		return nil, explain(err, "approve with these words")
	}
	return d.RecoverStatus(ctx)
}

// approvalTerms asks how far the recovery is, and says what an approval that is
// made here and now has to say.
func (d *Device) approvalTerms(ctx context.Context, request *ledger.RecoveryRequest) (*apiv1.Recovery, recovery.Terms, error) {
	shown, err := d.client.RecoveryStatus(ctx, d.newcomer(), &apiv1.RecoveryStatusRequest{Request: idOf(request)})
	if err != nil {
		return nil, recovery.Terms{}, explain(err, "ask for the recovery")
	}
	vetoes, err := vetoesShown(shown, request.ID())
	if err != nil {
		return nil, recovery.Terms{}, explain(err, "ask for the recovery")
	}
	now := d.o.Now()
	terms := recovery.Terms{NotBefore: now, Expiry: now.Add(approvalLife), Vetoes: vetoes}
	// The period may be longer than an approval usually lives.
	if ends := millis(shown.GetEnds()); ends.After(now) && ends.Sub(now) <= maxWaitingPeriod {
		terms.Expiry = ends.Add(approvalLife)
	}
	return shown, terms, nil
}

// vetoesShown returns the entries with the vetoes of a request, as the server
// shows them: approvals must name them. A false one makes the approval worthless
// and nothing worse.
func vetoesShown(r *apiv1.Recovery, id ledger.Hash) ([]ledger.Hash, error) {
	var vetoes []ledger.Hash
	for _, b := range r.GetVetoes() {
		entry, err := ledger.ParseEntry(b)
		if err != nil || !vetoesRequest(entry, id) {
			return nil, fmt.Errorf("%w: it shows a veto that is none", client.ErrDishonest)
		}
		vetoes = append(vetoes, entry.Hash())
	}
	return vetoes, nil
}

func vetoesRequest(entry *ledger.Entry, id ledger.Hash) bool {
	for _, record := range entry.Records() {
		if v := record.GetRecoveryVetoed(); v != nil && string(v.Request) == string(id[:]) {
			return true
		}
	}
	return false
}
