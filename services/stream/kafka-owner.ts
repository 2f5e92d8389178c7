/**
 * The assignment of a group whose member with the longest service reads everything: the others stand by. Every member
 * says since when it is there, so a newcomer takes nothing away, and when the owner leaves the next in service follows.
 */
import kafkajs, { type PartitionAssigner } from 'kafkajs';

const { MemberMetadata } = kafkajs.AssignerProtocol;

/** @param since Since when this member is there, milliseconds. Clocks that differ may choose another one, never two. */
export function oneOwnerAssigner(since: number): PartitionAssigner {
  return (tools) => {
    const roundRobin = kafkajs.PartitionAssigners.roundRobin(tools);
    const name = 'mcp-auditd-one-owner';
    return {
      name,
      version: 0,
      protocol: ({ topics }) => ({
        name,
        metadata: MemberMetadata.encode({ version: 0, topics, userData: Buffer.from(String(since)) }),
      }),
      assign: ({ members, topics }) => {
        const [first] = members
          .map((member) => ({
            member,
            since: Number(MemberMetadata.decode(member.memberMetadata)?.userData.toString() || Number.NaN),
          }))
          .sort((a, b) => a.since - b.since || (a.member.memberId < b.member.memberId ? -1 : 1));
        return roundRobin.assign({ members: first === undefined ? [] : [first.member], topics });
      },
    };
  };
}
