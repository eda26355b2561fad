package device

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/internal/api"
	"zeropass.dev/zeropass/ledger"
)

// maxAsking is how many devices a person is asked about one after the other.
// Whoever knows the account's name can make more ask: then the new device's words
// or its code pick it.
const maxAsking = 3

// JoiningDevice is a device that asks to be added to the account.
type JoiningDevice struct {
	Request ledger.Hash
	Phrases DevicePhrases
	Asked   time.Time // by its own clock
	Expires time.Time // zero if only its code is known

	request *ledger.DeviceRequest
}

// AccountPhrase is the account's safety phrase, which a new device must show too
// before anybody adds it.
func (d *Device) AccountPhrase() string { return safetyPhrase(d.keys.Account, purposeAccount) }

// JoiningDevices asks the server which devices want to be added, those that could
// be, the oldest first.
func (d *Device) JoiningDevices(ctx context.Context) ([]JoiningDevice, error) {
	if err := d.writable(); err != nil {
		return nil, err
	}
	all, err := d.joiningDevices(ctx)
	return all, explain(err, "ask which devices want to be added")
}

func (d *Device) joiningDevices(ctx context.Context) ([]JoiningDevice, error) {
	shown, err := d.client.Joins(ctx, d.identity())
	if err != nil {
		return nil, err
	}
	s := d.home.State()
	var all []JoiningDevice
	for _, j := range shown {
		request, err := ledger.ParseDeviceRequest(j.GetRequest())
		if err != nil || s.CheckDeviceRequest(request) != nil {
			continue
		}
		next := joiningDevice(request)
		next.Expires = millis(j.GetExpires())
		all = append(all, next)
	}
	return all, nil
}

func joiningDevice(r *ledger.DeviceRequest) JoiningDevice {
	m := r.Message()
	return JoiningDevice{Request: r.ID(), Phrases: devicePhrases(r.Account(), m.SignKey, m.SealKey, m.ConfirmKey), Asked: r.Time(), request: r}
}

// addedPhrases are the phrases of the device that a proposal adds, for whoever is
// asked to endorse it.
func addedPhrases(account ledger.AccountID, added *recordv1.DeviceAdded) DevicePhrases {
	k := added.GetKeys()
	return devicePhrases(account, k.GetSignKey(), k.GetSealKey(), k.GetConfirmKey())
}

// ApproveDeviceOptions says which device is to be added.
type ApproveDeviceOptions struct {
	Code   string // text of its QR code; without it the server says who asks
	Name   string // what it is called; "device N" if empty
	Phrase string // its eight words, as its screen shows them
	// Compare asks the person whether both phrases are on the new device's screen,
	// where Phrase is empty.
	Compare func(JoiningDevice) (bool, error)
}

// ApproveDevice adds a new device whose phrase was compared. Every other active
// device has to confirm it, and the new one: it waits for them.
func (d *Device) ApproveDevice(ctx context.Context, a ApproveDeviceOptions) (*DeviceInfo, error) {
	if a.Name != "" {
		if err := checkDeviceName(a.Name); err != nil {
			return nil, err
		}
	}
	if err := d.refresh(ctx); err != nil {
		return nil, d.noticeRevoked(err, "add a device")
	}
	s := d.home.State()
	if len(d.othersActive(s)) == 0 {
		if err := d.confirmsAlready(s); err != nil {
			return nil, err
		}
	}
	joining, err := d.pickJoining(ctx, a)
	if err != nil {
		return nil, explain(err, "add a device")
	}
	if err := d.addDevice(ctx, joining.request, a.Name); err != nil {
		return nil, explain(err, "add the device")
	}
	s = d.home.State()
	info := d.deviceInfo(s, deviceWithKey(s, joining.request.Message().SignKey))
	return &info, nil
}

// pickJoining returns the device that the person has compared.
func (d *Device) pickJoining(ctx context.Context, a ApproveDeviceOptions) (*JoiningDevice, error) {
	var all []JoiningDevice
	if a.Code != "" {
		request, err := parseJoinCode(a.Code)
		if err != nil {
			return nil, err
		}
		if err := d.home.State().CheckDeviceRequest(request); err != nil {
			return nil, failure(CodeUsage, err, "start zeropass device add on the new device again, with this account's name and server", "the device of this code cannot be added: %v", err)
		}
		all = append(all, joiningDevice(request))
	} else {
		var err error
		if all, err = d.joiningDevices(ctx); err != nil {
			return nil, err
		}
	}
	switch {
	case len(all) == 0:
		return nil, failure(CodeNotFound, nil, "run zeropass device add on the new device first, with the name "+d.Name(), "no device asks to be added to %s", d.Name())
	case a.Phrase != "":
		for i := range all {
			if samePhrase(a.Phrase, all[i].Phrases.Device) {
				return &all[i], nil
			}
		}
	case a.Compare == nil:
		return nil, failure(CodeUsage, nil, "give the new device's eight words", "the safety phrases must be compared")
	case len(all) > maxAsking:
		return nil, failure(CodeUsage, nil, "give the new device's eight words with --phrase, or the text of its QR code with --code",
			"%d devices ask to be added to %s, and most of them are not yours", len(all), d.Name())
	default:
		for i := range all {
			same, err := a.Compare(all[i])
			if err != nil {
				return nil, err
			}
			if same {
				return &all[i], nil
			}
		}
	}
	return nil, failure(CodeFailed, ErrPhrase,
		"if the new device is in your hand and shows other words, somebody stands between it and this one, perhaps the server: add no device now. If you asked for none, somebody else knows your account's name and nothing more",
		"the words are not those of a device that asks; nothing was added")
}

// addDevice proposes the new device and appends it. If another device of the
// account proposes the same one, this one endorses that: of two that wait for each
// other, the one with the lower number goes on.
func (d *Device) addDevice(ctx context.Context, request *ledger.DeviceRequest, name string) error {
	sign := request.Message().SignKey
	if yielded, err := d.endorseTwin(ctx, request, 0); err != nil || yielded {
		return d.twinAppended(ctx, sign, err)
	}
	proposing, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		d.watchTwin(proposing, request, stop)
	}()
	err := d.append(proposing, func(s *ledger.State) ([]transaction, error) {
		if deviceWithKey(s, sign) != nil {
			return nil, nil
		}
		if err := s.CheckDeviceRequest(request); err != nil {
			return nil, err
		}
		record, err := d.deviceAdded(s, request, name)
		if err != nil {
			return nil, err
		}
		return []transaction{{records: []proto.Message{record}}}, nil
	})
	yielded := errors.Is(context.Cause(proposing), errYielded)
	stop(nil)
	<-watched
	if yielded && err != nil {
		return d.twinAppended(ctx, sign, nil)
	}
	if err != nil && ctx.Err() == nil {
		// Another device may have been faster.
		if pulled := d.pull(ctx); pulled == nil && deviceWithKey(d.home.State(), sign) != nil {
			return nil
		}
	}
	return err
}

// errYielded: another device of the account adds the same new one.
var errYielded = errors.New("device: another device adds it")

// watchTwin looks, while this device waits for others, whether one with a lower
// number waits for this one with the same new device.
func (d *Device) watchTwin(ctx context.Context, request *ledger.DeviceRequest, stop context.CancelCauseFunc) {
	for pause := firstPoll; rest(ctx, pause) == nil; pause = min(pause*3/2, slowestPoll) {
		if yielded, err := d.endorseTwin(ctx, request, d.keys.Device); err == nil && yielded {
			stop(errYielded)
			return
		}
	}
}

// endorseTwin endorses another device's proposal to add the very device that was
// compared here. below, if it is not 0, admits only authors with a lower number.
func (d *Device) endorseTwin(ctx context.Context, request *ledger.DeviceRequest, below uint64) (bool, error) {
	waiting, err := d.client.Pending(ctx, d.identity())
	if err != nil {
		return false, err
	}
	m := request.Message()
	for _, w := range waiting {
		p, asked := addition(w, d.keys.Account)
		if p == nil || asked.Header.Device == d.keys.Device || below > 0 && asked.Header.Device > below {
			continue
		}
		k := p.Added().Keys
		if !bytes.Equal(k.SignKey, m.SignKey) || !bytes.Equal(k.SealKey, m.SealKey) || !bytes.Equal(k.ConfirmKey, m.ConfirmKey) {
			continue
		}
		if answeredBy(w, d.keys.Device) {
			return true, nil
		}
		if d.home.State().CheckProposal(p, asked.Header.Device, d.o.Now()) != nil {
			continue
		}
		err := d.sendEndorsement(ctx, d.identity(), asked, p, recordv1.Endorsement_ROLE_DEVICE, d.keys.Device)
		return err == nil, err
	}
	return false, nil
}

// twinAppended waits until the device that another one adds stands in the ledger.
func (d *Device) twinAppended(ctx context.Context, sign []byte, err error) error {
	if err != nil {
		return err
	}
	until := d.o.Now().Add(api.PendingLife)
	for pause := firstPoll; d.o.Now().Before(until); pause = min(pause*3/2, slowestPoll) {
		if err := d.pull(ctx); err != nil {
			return err
		}
		if deviceWithKey(d.home.State(), sign) != nil {
			return nil
		}
		if err := rest(ctx, pause); err != nil {
			return err
		}
	}
	return failure(CodeNotYet, api.ErrConfirmationExpired, "run the command again", "another device adds the new one as well, and has not come to an end")
}

// deviceAdded makes the record that adds a device: everything in use, sealed to it.
func (d *Device) deviceAdded(s *ledger.State, request *ledger.DeviceRequest, name string) (*recordv1.DeviceAdded, error) {
	m := request.Message()
	to := &ledger.Device{Number: s.NextDevice(), SignKey: request.SignKey(), SealKey: request.SealKey(), ConfirmKey: request.ConfirmKey()}
	if name == "" {
		name = fmt.Sprintf("device %d", to.Number)
	}
	g, err := d.generation(s, s.Generation())
	if err != nil {
		return nil, err
	}
	account := s.Account()
	sealedName, err := g.Metadata.Seal(d.o.Rand, deviceNameContext(account[:], to.SignKey, g.Number), []byte(name))
	if err != nil {
		return nil, err
	}
	generations, shares, err := d.bring(s, to)
	if err != nil {
		return nil, err
	}
	return &recordv1.DeviceAdded{
		Device: to.Number,
		Keys: &recordv1.DeviceKeys{
			SignKey: slices.Clone(m.SignKey), SealKey: slices.Clone(m.SealKey), ConfirmKey: slices.Clone(m.ConfirmKey),
			Generation: g.Number, SealedName: sealedName,
		},
		Generations: generations,
		SeedShares:  shares,
	}, nil
}
