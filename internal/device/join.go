package device

import (
	"bytes"
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/home"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/internal/client"
	"zeropass.dev/zeropass/ledger"
)

// DevicePhrases are the safety phrases of a new device, which both screens show:
// its own is over account and keys, the account's over the account alone.
type DevicePhrases struct {
	Account string
	Device  string
}

func devicePhrases(account ledger.AccountID, sign, seal, confirm []byte) DevicePhrases {
	return DevicePhrases{
		Account: safetyPhrase(account, purposeAccount),
		Device:  safetyPhrase(account, purposeDevice, sign, seal, confirm),
	}
}

// JoinOptions says which account a new device is to be added to.
type JoinOptions struct {
	secretive

	Dir               string // of the new device; it must not exist, or be empty
	ServerURL         string
	Name              string // of the account
	Passphrase        []byte
	ConfirmPassphrase []byte // must differ
	UnlockCost        int    // base-2 logarithm of scrypt's rounds, 0 for the default

	// Show is told what the other device has to know. It may be nil.
	Show func(JoinShown) error
	// AccountPhrase is the account's phrase as the other device shows it. Without
	// it, Compare asks the person whether both phrases are the same there.
	AccountPhrase string
	Compare       func(DevicePhrases) (bool, error)
}

// JoinShown is what a new device shows.
type JoinShown struct {
	Name    string
	Account ledger.AccountID
	Phrases DevicePhrases
	Code    string // text of the QR code, for the other device
	Expires time.Time
}

// JoinResult is a device that was added.
type JoinResult struct {
	Account ledger.AccountID
	Name    string // the account's
	Device  uint64
	Secrets int
	Unsaid  string // why the first sync failed; empty if it did not
}

// joinState is what a new device must not forget until it is added.
type joinState struct {
	Request  []byte   // exact bytes of the SignedDeviceRequest; nil before there is one
	Compared bool     // a person has said that both phrases are the right ones
	Endorsed []uint64 // numbers under which it may stand in the ledger
}

const joinFile = "join"

// maxEndorsed is how many numbers a new device remembers.
const maxEndorsed = 64

// joining says whether the directory waits to be added to an account.
func (d *Device) joining() bool {
	j, err := load[joinState](d, joinFile)
	return err == nil && j != nil
}

// Join makes a new device, asks the account's other devices to add it, and waits
// until they have. It endorses nothing before a person has compared the phrases,
// and takes no other ledger than that of the account that was compared. Run again
// with the same directory, it goes on with the same keys.
func Join(ctx context.Context, o Options, j JoinOptions) (*Device, *JoinResult, error) {
	o = o.withDefaults()
	if j.Name == "" {
		return nil, nil, failure(CodeUsage, nil, "give the name that the account was made with", "the account is not named")
	}
	if j.AccountPhrase == "" && j.Compare == nil {
		return nil, nil, failure(CodeUsage, nil, "give the account's eight words as the other device shows them", "the safety phrases must be compared")
	}
	d, err := openOrJoin(ctx, o, j)
	if err != nil {
		return nil, nil, err
	}
	result, err := d.join(ctx, j)
	if err != nil {
		_ = d.Close()
		if errors.Is(err, ErrPhrase) || errors.Is(err, api.ErrUnknownAccount) && signed(err) {
			// Nothing but unused keys is here, and perhaps a wrong account's id.
			err = errors.Join(err, os.RemoveAll(j.Dir))
		}
		return nil, nil, explain(err, "add this device to "+j.Name)
	}
	return d, result, nil
}

// openOrJoin opens the directory of a device that waits to be added, or makes a
// fresh one.
func openOrJoin(ctx context.Context, o Options, j JoinOptions) (*Device, error) {
	h, err := home.Open(j.Dir)
	if errors.Is(err, home.ErrMissing) {
		d, err := create(ctx, o, j.Dir, j.ServerURL, j.Name, home.Creation{
			Passphrase: j.Passphrase, ConfirmPassphrase: j.ConfirmPassphrase, WorkFactor: j.UnlockCost,
		})
		if err != nil {
			return nil, err
		}
		if err := d.save(joinFile, &joinState{}); err != nil {
			_ = d.Close()
			return nil, explain(err, "make "+j.Dir)
		}
		return d, nil
	}
	if err != nil {
		return nil, openError(j.Dir, err)
	}
	d, err := unlock(h, j.Passphrase, o)
	if err != nil {
		_ = h.Close()
		return nil, err
	}
	begun, err := load[initState](d, initFile)
	switch {
	case err != nil:
	case !strings.EqualFold(d.Name(), j.Name), begun != nil, d.recovering(), d.home.State() != nil && !d.joining():
		err = failure(CodeHome, ErrBefore, "name another directory with --home", "%s holds the account %s already", j.Dir, d.Name())
	case !d.joining(): // stopped right after the directory was made
		err = d.save(joinFile, &joinState{})
	}
	if err == nil {
		err = d.reachAt(ctx, j.ServerURL)
	}
	if err != nil {
		_ = d.Close()
		return nil, explain(err, "go on in "+j.Dir)
	}
	return d, nil
}

func (d *Device) join(ctx context.Context, j JoinOptions) (*JoinResult, error) {
	state, err := load[joinState](d, joinFile)
	if err != nil {
		return nil, err
	}
	if d.keys.Account == (ledger.AccountID{}) {
		if err := d.nameJoined(ctx, j.Name); err != nil {
			return nil, err
		}
	}
	// Stopped between the ledger and the device's number. One that was stopped while
	// it stored the ledger has its first entries, without this device, or none.
	if s := d.home.State(); state.Compared && s != nil && deviceWithKey(s, d.keys.Sign.PublicKey().Bytes()) != nil {
		return d.joined(ctx, state)
	}
	expires, err := d.askToJoin(ctx, state)
	if err != nil {
		return nil, err
	}
	if err := d.compareJoin(state, j, expires); err != nil {
		return nil, err
	}
	if err := d.awaitAdded(ctx, state, expires); err != nil {
		return nil, err
	}
	return d.joined(ctx, state)
}

// nameJoined asks which account has the name. The person compares what the server
// says: the id is in both phrases.
func (d *Device) nameJoined(ctx context.Context, name string) error {
	who := d.newcomer()
	who.Account = nil
	answer, err := d.client.Join(ctx, who, &apiv1.JoinRequest{Name: name})
	if err != nil {
		return err
	}
	if len(answer.Account) != len(ledger.AccountID{}) {
		return fmt.Errorf("%w: it names an account with an id of %d bytes", client.ErrDishonest, len(answer.Account))
	}
	if err := d.home.SetIdentity(ledger.AccountID(answer.Account), 0); err != nil {
		return err
	}
	d.keys, err = d.home.Keys()
	return err
}

// askToJoin leaves the request with the server, a new one with the same keys where
// the server does not take the old one any more.
func (d *Device) askToJoin(ctx context.Context, state *joinState) (expires time.Time, err error) {
	fresh := state.Request == nil
	for {
		if fresh {
			if err := d.newJoin(state); err != nil {
				return time.Time{}, err
			}
		}
		answer, err := d.client.Join(ctx, d.newcomer(), &apiv1.JoinRequest{Request: state.Request})
		if err == nil {
			return millis(answer.Expires), nil
		}
		if fresh || !signed(err) || !errors.Is(err, api.ErrClock) {
			return time.Time{}, d.alreadyAdded(state, err)
		}
		fresh = true
	}
}

// alreadyAdded lets a device go on whose keys the account has, because it was
// added before it stopped.
func (d *Device) alreadyAdded(state *joinState, err error) error {
	if len(state.Endorsed) > 0 && signed(err) && !errors.Is(err, api.ErrUnknownAccount) && !errors.Is(err, api.ErrRateLimited) && !errors.Is(err, api.ErrUnavailable) {
		return nil
	}
	return err
}

func (d *Device) newJoin(state *joinState) error {
	nonce, err := d.nonce()
	if err != nil {
		return err
	}
	state.Request, err = ledger.NewDeviceRequest(&recordv1.DeviceRequest{
		Account:    d.keys.Account[:],
		Nonce:      nonce,
		SignKey:    d.keys.Sign.PublicKey().Bytes(),
		SealKey:    d.keys.Seal.PublicKey().Bytes(),
		ConfirmKey: d.keys.Confirm.Bytes(),
		Time:       uint64(d.o.Now().UnixMilli()),
		Server:     d.server.Bytes(),
	}, d.keys.Sign)
	if err != nil {
		return err
	}
	return d.save(joinFile, state)
}

func (d *Device) ownPhrases() DevicePhrases {
	return devicePhrases(d.keys.Account, d.keys.Sign.PublicKey().Bytes(), d.keys.Seal.PublicKey().Bytes(), d.keys.Confirm.Bytes())
}

// compareJoin shows what the other device has to know, and has the phrases
// compared, once.
func (d *Device) compareJoin(state *joinState, j JoinOptions, expires time.Time) error {
	phrases := d.ownPhrases()
	if j.Show != nil && !expires.IsZero() {
		shown := JoinShown{Name: d.Name(), Account: d.keys.Account, Phrases: phrases, Code: joinCode(state.Request), Expires: expires}
		if err := j.Show(shown); err != nil {
			return err
		}
	}
	if state.Compared {
		return nil
	}
	same := samePhrase(j.AccountPhrase, phrases.Account)
	if j.AccountPhrase == "" {
		var err error
		if same, err = j.Compare(phrases); err != nil {
			return err
		}
	}
	if !same {
		return failure(CodeDishonest, ErrPhrase,
			"look whether the name and the server are right; if they are, somebody stands between this device and yours, and it may be the server: do not add this device, and ask whoever runs the server",
			"the other device shows other words: the server names another account than yours, or another device asks in this one's place")
	}
	state.Compared = true
	return d.save(joinFile, state)
}

// awaitAdded endorses what adds this device and nothing else, until it stands in
// the ledger.
func (d *Device) awaitAdded(ctx context.Context, state *joinState, until time.Time) error {
	for pause := firstPoll; ; pause = min(pause*3/2, slowestPoll) {
		before := len(state.Endorsed)
		if err := d.endorseOwn(ctx, state); err != nil {
			return err
		}
		if len(state.Endorsed) > before {
			pause = firstPoll // the entry follows at once, where no other device must endorse it
		}
		if done, err := d.takeLedger(ctx, state); done || err != nil {
			return err
		}
		if !until.IsZero() && d.o.Now().After(until) {
			return failure(CodeNotYet, api.ErrConfirmationExpired, "have the other device at hand and run the command again: it goes on with the same keys",
				"no device of %s has added this one in time", d.Name())
		}
		if err := rest(ctx, pause); err != nil {
			return err
		}
	}
}

// endorseOwn endorses the proposals that wait and add exactly this device.
func (d *Device) endorseOwn(ctx context.Context, state *joinState) error {
	waiting, err := d.client.Pending(ctx, d.newcomer())
	if err != nil {
		if passing(err) || len(state.Endorsed) > 0 && signed(err) {
			return nil
		}
		return err
	}
	for _, w := range waiting {
		p, header := addition(w, d.keys.Account)
		if p == nil || !d.addsThis(p.Added()) || answeredBy(w, 0) {
			continue
		}
		number := p.Added().Device
		if !slices.Contains(state.Endorsed, number) {
			// A server that shows ever other proposals fills no disk, and only keeps
			// itself from adding this device.
			state.Endorsed = append(state.Endorsed, number)
			state.Endorsed = state.Endorsed[max(0, len(state.Endorsed)-maxEndorsed):]
		}
		if err := d.save(joinFile, state); err != nil {
			return err
		}
		err := d.sendEndorsement(ctx, d.newcomer(), header, p, recordv1.Endorsement_ROLE_NEW_DEVICE, number)
		if err != nil && !passing(err) && !signed(err) {
			return err
		}
	}
	return nil
}

// passing says whether an error says nothing but that it is to be tried again.
func passing(err error) bool {
	return errors.Is(err, client.ErrUnreachable) || errors.Is(err, api.ErrUnavailable) || errors.Is(err, api.ErrRateLimited)
}

func answeredBy(w *apiv1.Waiting, device uint64) bool {
	for _, number := range w.GetAnswered() {
		if number == device {
			return true
		}
	}
	return false
}

// addition reads a proposal that waits and adds a device to the account, and does
// nothing else; nil if it is none. The id that it is confirmed under is computed
// here: what the server says of it does not count.
func addition(w *apiv1.Waiting, account ledger.AccountID) (p *ledger.Proposal, request *api.Request) {
	r, err := api.ParseRequest(apiv1connect.ServerServiceProposeProcedure, w.GetRequest())
	if err != nil {
		return nil, nil
	}
	if named, ok := r.Account(); !ok || named != account {
		return nil, nil
	}
	body := &apiv1.ProposeRequest{}
	if r.Decode(body) != nil {
		return nil, nil
	}
	p, err = ledger.ParseProposal(body.Proposal, body.Records)
	if err != nil || p.Added() == nil || len(p.Records()) != 1 {
		return nil, nil
	}
	return p, r
}

// addsThis says whether a record names exactly this device's keys.
func (d *Device) addsThis(added *recordv1.DeviceAdded) bool {
	k := added.GetKeys()
	return bytes.Equal(k.GetSignKey(), d.keys.Sign.PublicKey().Bytes()) && bytes.Equal(k.GetSealKey(), d.keys.Seal.PublicKey().Bytes()) &&
		bytes.Equal(k.GetConfirmKey(), d.keys.Confirm.Bytes())
}

func (d *Device) sendEndorsement(ctx context.Context, who api.Identity, request *api.Request, p *ledger.Proposal, role recordv1.Endorsement_Role, device uint64) error {
	signature, err := d.keys.Sign.SignContext(ledger.ProposalContext(d.keys.Account, p.Message(), request.Header.Device, p.Bytes(), role, device))
	if err != nil {
		return err
	}
	return d.client.Confirm(ctx, who, &apiv1.ConfirmRequest{
		Id: request.Hash[:], Endorsement: &recordv1.Endorsement{Role: role, Device: device, Signature: signature},
	})
}

// takeLedger reads the ledger under the numbers that the device may have, folds it
// from the account's first entry on, and stores it if this device stands in it.
// What is stored is the compared account's ledger: its id is the hash of that
// entry.
func (d *Device) takeLedger(ctx context.Context, state *joinState) (done bool, err error) {
	tried := map[uint64]bool{}
	for _, number := range state.Endorsed {
		if tried[number] {
			continue
		}
		tried[number] = true
		who := d.newcomer()
		who.Device = number
		s, entries, err := d.readLedger(ctx, who)
		if passing(err) || signed(err) && errors.Is(err, api.ErrUnknownDevice) {
			continue
		}
		if err != nil {
			return false, err
		}
		own, ok := s.Device(number)
		if !ok || !own.SignKey.Equal(d.keys.Sign.PublicKey()) {
			return false, fmt.Errorf("%w: it shows a ledger without this device", client.ErrDishonest)
		}
		if err := d.home.Append(entries...); err != nil {
			return false, err
		}
		return true, nil
	}
	return false, nil
}

// joined takes the number that the ledger gives this device, checks that it can
// open everything, and syncs for the first time.
func (d *Device) joined(ctx context.Context, state *joinState) (*JoinResult, error) {
	s := d.home.State()
	own := deviceWithKey(s, d.keys.Sign.PublicKey().Bytes())
	if own == nil || s.Account() != d.keys.Account {
		return nil, fmt.Errorf("%w: the ledger is without this device", client.ErrDishonest)
	}
	if err := d.home.SetIdentity(d.keys.Account, own.Number); err != nil {
		return nil, err
	}
	var err error
	if d.keys, err = d.home.Keys(); err != nil {
		return nil, err
	}
	if err := d.opensAll(s); err != nil {
		return nil, failure(CodeFailed, err, fmt.Sprintf("revoke this device there (zeropass device revoke %d) and add it again in another directory", own.Number),
			"what device %d sealed to this one does not open: %v", own.ChangedBy, err)
	}
	if err := d.home.RemovePrivate(joinFile); err != nil {
		return nil, err
	}
	result := &JoinResult{Account: d.keys.Account, Name: d.Name(), Device: own.Number}
	// The device is added, whatever becomes of its first sync.
	if _, err := d.Sync(ctx); err != nil {
		result.Unsaid = err.Error()
	}
	result.Secrets = len(d.home.State().LiveSlots())
	return result, nil
}

// deviceWithKey returns the device that has this sign key, nil if none has.
func deviceWithKey(s *ledger.State, sign []byte) *ledger.Device {
	for _, own := range s.Devices() {
		if bytes.Equal(own.Keys.SignKey, sign) {
			return own
		}
	}
	return nil
}

// joinPrefix starts the text of a new device's QR code.
const joinPrefix = "zeropass-device-1:"

// joinEncoding has capitals and digits alone: a QR code is smaller for it.
var joinEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

func joinCode(request []byte) string { return joinPrefix + joinEncoding.EncodeToString(request) }

// parseJoinCode reads the text of a new device's QR code.
func parseJoinCode(text string) (*ledger.DeviceRequest, error) {
	rest, ok := strings.CutPrefix(strings.Join(strings.Fields(text), ""), joinPrefix)
	if !ok {
		return nil, failure(CodeUsage, nil, "it starts with "+joinPrefix, "this is not the text of a new device's QR code")
	}
	b, err := joinEncoding.DecodeString(strings.ToUpper(rest))
	if err == nil {
		var r *ledger.DeviceRequest
		if r, err = ledger.ParseDeviceRequest(b); err == nil {
			return r, nil
		}
	}
	return nil, failure(CodeUsage, err, "copy all of it, or scan it again", "the text of the new device's QR code is damaged")
}
