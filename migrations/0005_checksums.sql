-- What is read back must be what was written: the checksum of position, id, partition, received and body. Absent for
-- events of before, which are taken as they are.
ALTER TABLE events ADD COLUMN checksum INTEGER;
