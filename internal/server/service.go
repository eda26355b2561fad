package server

import (
	"context"

	"connectrpc.com/connect"

	apiv1 "zeropass.dev/zeropass/gen/zeropass/api/v1"
	"zeropass.dev/zeropass/gen/zeropass/api/v1/apiv1connect"
	"zeropass.dev/zeropass/internal/api"
)

// service gives each procedure its handler.
type service struct {
	s *Server
}

var _ apiv1connect.ServerServiceHandler = service{}

type (
	in  = *connect.Request[apiv1.SignedRequest]
	out = *connect.Response[apiv1.SignedAnswer]
)

func (v service) Identify(ctx context.Context, r *connect.Request[apiv1.IdentifyRequest]) (*connect.Response[apiv1.IdentifyAnswer], error) {
	_, place, err := v.s.enter(ctx, apiv1connect.ServerServiceIdentifyProcedure, nil, r.Peer().Addr)
	if err != nil {
		return nil, err
	}
	defer place.leave()
	now := v.s.now()
	if err := nonce(r.Msg.Nonce); err != nil {
		return nil, v.s.refuse(apiv1connect.ServerServiceIdentifyProcedure, nil, now, err)
	}
	return connect.NewResponse(api.SignIdentity(v.s.keys.sign, v.s.keys.SealKey(), r.Msg.Nonce, v.s.movedTo, now)), nil
}

func (v service) CreateAccount(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceCreateAccountProcedure, r, v.s.createAccount)
}

func (v service) SeedHalf(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceSeedHalfProcedure, r, v.s.seedHalf)
}

func (v service) Append(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceAppendProcedure, r, v.s.append)
}

func (v service) PaperHalf(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServicePaperHalfProcedure, r, v.s.paperHalf)
}

func (v service) Entries(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceEntriesProcedure, r, v.s.entries)
}

func (v service) SealedShares(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceSealedSharesProcedure, r, v.s.sealedShares)
}

func (v service) Attest(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceAttestProcedure, r, v.s.attest)
}

func (v service) Reveal(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceRevealProcedure, r, v.s.reveal)
}

func (v service) ActivityLog(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceActivityLogProcedure, r, v.s.activityLog)
}

func (v service) Propose(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceProposeProcedure, r, v.s.propose)
}

func (v service) Pending(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServicePendingProcedure, r, v.s.pending)
}

func (v service) Confirm(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceConfirmProcedure, r, v.s.confirm)
}

func (v service) Join(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceJoinProcedure, r, v.s.join)
}

func (v service) Joins(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceJoinsProcedure, r, v.s.joins)
}

func (v service) SendMessage(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceSendMessageProcedure, r, v.s.sendMessage)
}

func (v service) Inbox(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceInboxProcedure, r, v.s.inbox)
}

func (v service) Acknowledge(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceAcknowledgeProcedure, r, v.s.acknowledge)
}

func (v service) Alarms(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceAlarmsProcedure, r, v.s.alarms)
}

func (v service) SetAlarms(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceSetAlarmsProcedure, r, v.s.setAlarms)
}

func (v service) StartRecovery(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceStartRecoveryProcedure, r, v.s.startRecovery)
}

func (v service) RecoveryStatus(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceRecoveryStatusProcedure, r, v.s.recoveryStatus)
}

func (v service) Recoveries(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceRecoveriesProcedure, r, v.s.recoveries)
}

func (v service) Approve(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceApproveProcedure, r, v.s.approve)
}

func (v service) Release(ctx context.Context, r in) (out, error) {
	return serve(ctx, v.s, apiv1connect.ServerServiceReleaseProcedure, r, v.s.release)
}
